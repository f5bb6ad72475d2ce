"""What a walk has found so far, in the words and targets that a `Reach` is made of."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from whichever.advisor._inside import attributes
from whichever.advisor._kinds import draws_random, is_state, is_user_module, resource_kind
from whichever.advisor._places import attribute_names, read_attribute, read_class
from whichever.advisor._reach import MISSING, Reach, Target, callable_name, function_kind

if TYPE_CHECKING:
    import types
    from collections.abc import Callable

    from whichever.advisor._bytecode import CodeFacts
    from whichever.advisor._places import Place

_TARGETS = 200
_ATTRIBUTES = 50
_CONTAINERS = (dict, list, set, tuple)
_LOCKS = ("lock", "condition", "semaphore")


class Findings:
    """Collects in the order of finding, each thing once (dicts serve as ordered sets).

    Args:
        home: The module of the function asked about: its globals are named without their module.
    """

    def __init__(self, home: str | None) -> None:
        self._home = home
        self.modules: dict[str, None] = {}
        self.functions: dict[str, None] = {}
        self.caches: dict[str, None] = {}
        self.complete = True
        self._state: dict[str, Target] = {}
        self._writes: dict[str, None] = {}
        self._set_once: dict[str, None] = {}
        self._resources: dict[str, None] = {}
        self._advanced: dict[str, None] = {}
        self._generators: dict[str, None] = {}
        self._stored: set[str] = set()
        self._user_modules: dict[str, types.ModuleType] = {}
        self._locks = False

    def reach(self, fn: Any) -> Reach:
        """Give what was found of `fn`."""
        self._watch_module_attributes()
        return Reach(
            name=callable_name(fn),
            kind=function_kind(fn),
            writes=tuple(self._writes),
            set_once=tuple(self._set_once),
            resources=tuple(self._resources),
            advanced=tuple(self._advanced),
            modules=tuple(name for name in self.modules if name not in ("", "builtins", "__main__")),
            caches=tuple(self.caches),
            generators=tuple(self._generators),
            state=tuple(self._state.values()),
            functions=tuple(self.functions),
            locks=self._locks,
            complete=self.complete,
        )

    def note_writes(self, function: types.FunctionType, facts: CodeFacts) -> None:
        """Take over what a function's code is seen to write."""
        self._stored |= facts.stored_attributes
        for name in sorted(facts.written_globals):
            label = self.global_label(name, function.__module__)
            if name in facts.set_once and function.__globals__.get(name) is None:
                self._set_once[label] = None
            elif name not in facts.set_once:
                self._writes[f"writes {label}"] = None
        for name in sorted(facts.written_free):
            self._writes[f"writes the nonlocal `{name}`"] = None

    def global_label(self, name: str, module: str | None) -> str:
        """Name a global, with its module when that is not the function's own."""
        elsewhere = module is not None and self._home is not None and module != self._home
        return f"the global `{module}.{name}`" if elsewhere else f"the global `{name}`"

    def module(self, module: types.ModuleType) -> None:
        """Note a module that is used."""
        self.modules[module.__name__] = None
        if is_user_module(module.__name__):
            self._user_modules[module.__name__] = module

    def resource(self, value: Any, place: Place, path: str) -> bool:
        """Note `value` if it belongs to this process alone, and say whether it does."""
        kind = resource_kind(value)
        if kind is None:
            if draws_random(value):
                self._generators[f"the random generator `{path}`"] = None
            return False
        self._resources[place.resource(kind, path)] = None
        if kind in ("generator", "async generator"):
            self._advanced[place.resource(kind, path)] = None
        self._locks = self._locks or kind in _LOCKS
        return True

    def target(self, label: str, read: Callable[[], Any]) -> None:
        """Note a piece of state to compare before and after calls."""
        if len(self._state) >= _TARGETS:
            self.complete = False
        else:
            self._state.setdefault(label, Target(label=label, read=read))

    def watch(self, value: Any, place: Place) -> None:
        """Note `value` as state if a change of it could be missed."""
        if not is_state(value):
            return
        own = attributes(value) if place.kind == "object" and not isinstance(value, _CONTAINERS) else {}
        if not 0 < len(own) <= _ATTRIBUTES:
            self.target(place.label(value), place.read)
            return
        for name in own:
            self.target(f"the attribute `self.{name}`", functools.partial(read_attribute, value, name))
        self.target("attributes of its object", functools.partial(attribute_names, value))

    def watch_class(self, kind: type) -> None:
        """Note the data that a class itself holds, and which names it has."""
        for name, value in list(vars(kind).items())[: 4 * _ATTRIBUTES]:
            if (
                not name.startswith(("__", "_abc_"))
                and is_state(value)
                and not hasattr(type(value), "__get__")
            ):
                label = f"the class attribute `{kind.__qualname__}.{name}`"
                self.target(label, functools.partial(read_class, kind, name))
        if not hasattr(kind, "__members__"):
            self.target(f"attributes of the class `{kind.__qualname__}`", lambda: tuple(vars(kind)))

    def _watch_module_attributes(self) -> None:
        for module in self._user_modules.values():
            for name in sorted(self._stored & vars(module).keys()):
                label = f"the global `{module.__name__}.{name}`"
                self.target(label, functools.partial(vars(module).get, name, MISSING))
