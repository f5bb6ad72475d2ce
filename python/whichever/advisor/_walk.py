"""The walk behind `inspect_function`: from a function to everything its names lead to, breadth first, bounded."""

# ruff: noqa: ANN401 -- items, results and what functions reach are the user's own, of any type

from __future__ import annotations

import builtins
import collections
import functools
import importlib.util
import inspect
import random
import sys
import time
import types
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from whichever.advisor._bytecode import CodeFacts, Import, Load, scan
from whichever.advisor._inside import attributes, parts
from whichever.advisor._kinds import is_state, is_user_class, is_user_file, is_user_module, resource_kind
from whichever.advisor._reach import MISSING, Reach, Target, callable_name, function_kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_FUNCTIONS = 300
_SECONDS = 0.25
_TARGETS = 200
_ATTRIBUTES = 50
_CONTAINERS = (dict, list, set, tuple)
_CACHE_TYPE = type(functools.lru_cache(maxsize=1)(len))

PlaceKind = Literal["global", "closure", "default", "object", "bound"]


@dataclass(frozen=True, slots=True)
class _Place:
    """How the function comes to a value, for naming it."""

    kind: PlaceKind
    name: str
    read: Callable[[], Any]

    def resource(self, kind: str, path: str) -> str:
        if self.kind == "closure":
            return f"closes over the {kind} `{path}`"
        if self.kind == "default":
            return f"has the {kind} `{path}` as a default argument"
        if self.kind == "object":
            return f"belongs to an object that holds the {kind} `{path}`"
        if self.kind == "bound":
            return f"is bound to the {kind} `{path}`"
        return f"uses the {kind} `{path}`"

    def label(self, value: Any) -> str:
        if self.kind == "closure":
            return f"the closed-over `{self.name}`"
        if self.kind == "default":
            return f"the default argument `{self.name}`"
        if self.kind == "object":
            return f"its object, a `{type(value).__qualname__}`"
        if self.kind == "bound":
            return f"`{self.name}`, which it is bound to"
        return f"the global `{self.name}`"


@dataclass(frozen=True, slots=True)
class _InstanceOf:
    """Stands for an instance that does not exist yet, in a constructor or a method called on its class."""

    kind: type


def inspect_function(fn: Callable[..., Any], first_item: Any = MISSING) -> Reach:
    """Find what `fn` reaches, without running anything.

    Args:
        fn: Any callable; of a builtin or a C function nothing can be seen and nothing is reported.
        first_item: An item it will be called with; with it, the item's own methods are looked at too.
    """
    walk = _Walk(fn)
    walk.start(first_item)
    walk.run()
    return walk.reach()


class _Walk:
    def __init__(self, fn: Any) -> None:
        self._fn = fn
        self._pending: collections.deque[tuple[types.FunctionType, Any]] = collections.deque()
        self._seen: dict[tuple[int, int], Any] = {}
        self._met: dict[int, Any] = {}
        self._state: dict[str, Target] = {}
        self._writes: dict[str, None] = {}
        self._set_once: dict[str, None] = {}
        self._resources: dict[str, None] = {}
        self._modules: dict[str, None] = {}
        self._caches: dict[str, None] = {}
        self._generators: dict[str, None] = {}
        self._functions: dict[str, None] = {}
        self._stored: set[str] = set()
        self._user_modules: dict[str, types.ModuleType] = {}
        self._locks = False
        self._complete = True
        self._home = getattr(_underlying(fn), "__module__", None)
        self._first_item: Any = MISSING

    def start(self, first_item: Any) -> None:
        self._first_item = first_item
        fn = self._fn
        self._meet(fn, _Place("object", "self", lambda: fn))

    def run(self) -> None:
        deadline = time.monotonic() + _SECONDS
        while self._pending:
            if len(self._functions) >= _FUNCTIONS or time.monotonic() > deadline:
                self._complete = False
                return
            function, bound = self._pending.popleft()
            self._functions[function.__qualname__] = None
            self._visit(function, bound)

    def reach(self) -> Reach:
        self._watch_module_attributes()
        return Reach(
            name=callable_name(self._fn),
            kind=function_kind(self._fn),
            writes=tuple(self._writes),
            set_once=tuple(self._set_once),
            resources=tuple(self._resources),
            modules=tuple(name for name in self._modules if name not in ("builtins", "__main__")),
            caches=tuple(self._caches),
            generators=tuple(self._generators),
            state=tuple(self._state.values()),
            functions=tuple(self._functions),
            locks=self._locks,
            complete=self._complete,
        )

    # -- one function -------------------------------------------------------------------------------

    def _visit(self, function: types.FunctionType, bound: Any) -> None:
        facts = scan(function.__code__)
        home = function.__globals__
        self._stored |= facts.stored_attributes
        self._note_writes(function, facts)
        if facts.stored_attributes or vars(function).keys() - {"__wrapped__"}:
            label = f"attributes of the function `{function.__qualname__}`"
            self._target(label, functools.partial(_function_attributes, function))
        locals_ = self._locals(function, bound)
        cells = self._closure(function)
        for load in sorted(facts.loads, key=lambda load: (load.scope, load.name, load.attributes)):
            if load.scope == "global":
                self._load_global(home, load)
            else:
                known = cells if load.scope == "free" else locals_
                self._follow(known.get(load.name, MISSING), load.attributes, load.name)
        for name, value in _defaults(function):
            self._meet(value, _Place("default", name, functools.partial(_read_default, function, name)))
        for imported in facts.imports:
            self._import(imported, home, facts)
        for name in facts.super_attributes:
            self._super(bound, name)

    def _note_writes(self, function: types.FunctionType, facts: CodeFacts) -> None:
        for name in sorted(facts.written_globals):
            label = self._global_label(name, function.__module__)
            if name in facts.set_once and function.__globals__.get(name) is None:
                self._set_once[label] = None
            elif name not in facts.set_once:
                self._writes[f"writes {label}"] = None
        for name in sorted(facts.written_free):
            self._writes[f"writes the nonlocal `{name}`"] = None

    def _global_label(self, name: str, module: str | None) -> str:
        elsewhere = module is not None and self._home is not None and module != self._home
        return f"the global `{module}.{name}`" if elsewhere else f"the global `{name}`"

    def _locals(self, function: types.FunctionType, bound: Any) -> dict[str, Any]:
        names = function.__code__.co_varnames[: function.__code__.co_argcount]
        values = [] if bound is MISSING else [bound]
        if function is _underlying(self._fn) and self._first_item is not MISSING:
            values.append(self._first_item)
        return dict(zip(names, values, strict=False))

    def _closure(self, function: types.FunctionType) -> dict[str, Any]:
        found = {}
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=False):
            value = found[name] = _read_cell(cell)
            if value is not MISSING:
                self._meet(value, _Place("closure", name, functools.partial(_read_cell, cell)))
        return found

    def _load_global(self, home: dict[str, Any], load: Load) -> None:
        if load.name not in home:
            if not hasattr(builtins, load.name):
                # not bound yet: a call may bind it
                self._target(f"the global `{load.name}`", functools.partial(home.get, load.name, MISSING))
            return
        value = home[load.name]
        module = home.get("__name__")
        label = self._global_label(load.name, module if isinstance(module, str) else None)
        name = label.removeprefix("the global ").strip("`")
        self._meet(value, _Place("global", name, functools.partial(home.get, load.name, MISSING)))
        self._follow(value, load.attributes, name)

    def _import(self, imported: Import, home: dict[str, Any], facts: CodeFacts) -> None:
        name = imported.module
        if imported.level:
            package = home.get("__package__") or ""
            try:
                name = importlib.util.resolve_name("." * imported.level + name, package)
            except ImportError:
                return
        self._modules[name] = None
        module = sys.modules.get(name)
        if module is None or not is_user_module(name):
            return
        for part in imported.names:
            self._follow(module, (part,), name)
        for load in facts.loads:
            if load.name == imported.alias and load.scope == "local":
                self._follow(module, load.attributes, name)

    def _super(self, bound: Any, name: str) -> None:
        for base in _class_of(bound).__mro__[1:]:
            if name in vars(base):
                self._member(vars(base)[name], bound)

    # -- one value ----------------------------------------------------------------------------------

    def _follow(self, base: Any, names: tuple[str, ...], path: str) -> None:
        """Look at what ``base.a.b`` leads to, without running a property or a module's ``__getattr__``."""
        for name in names:
            if base is MISSING:
                return
            path = f"{path}.{name}"
            if isinstance(base, types.ModuleType):
                base = self._module_attribute(base, name, path)
                continue
            if not is_user_class(_class_of(base)):
                return
            owner = base.kind if isinstance(base, _InstanceOf) else base
            value = inspect.getattr_static(owner, name, MISSING)
            self._member(value, base)
            base = value if is_user_class(type(value)) else MISSING

    def _module_attribute(self, module: types.ModuleType, name: str, path: str) -> Any:
        value = vars(module).get(name, MISSING)
        if isinstance(value, types.ModuleType):
            self._meet_module(value)
        elif not is_user_module(module.__name__):
            return MISSING
        elif value is not MISSING:
            self._meet(value, _Place("global", path, functools.partial(vars(module).get, name, MISSING)))
        return value

    def _member(self, value: Any, owner: Any) -> None:
        """Look at what a class holds under a method's name."""
        if isinstance(value, staticmethod):
            self._function(value.__func__, MISSING)
        elif isinstance(value, classmethod):
            self._function(value.__func__, _class_of(owner))
        elif isinstance(value, property):
            self._function(value.fget, owner)
        elif isinstance(value, functools.cached_property):
            self._function(value.func, owner)
        elif isinstance(value, types.FunctionType):
            # a function taken from a class itself is called with an instance nobody knows yet
            self._function(value, _InstanceOf(owner) if isinstance(owner, type) else owner)
        elif type(value) is _CACHE_TYPE:
            self._meet_cache(value)

    def _meet(self, value: Any, place: _Place) -> None:
        """Look at a value the function comes to; deeper parts of data are looked at for what they hold."""
        if self._meet_code(value):
            return
        first_time = id(value) not in self._met
        self._met[id(value)] = value
        if not first_time:
            self._watch(value, place)
            return
        if self._meet_resource(value, place, place.name):
            return
        self._watch(value, place)
        for path, part in parts(value, place.name):
            if not self._meet_code(part):
                self._meet_resource(part, place, path)
        self._callable_object(value)

    def _meet_code(self, value: Any) -> bool:
        """Look at a module, function, method, class or partial; False when `value` is none of these."""
        kind = type(value)
        if issubclass(kind, types.ModuleType):
            self._meet_module(value)
        elif kind is types.FunctionType:
            self._function(value, MISSING)
        elif kind is types.MethodType:
            owner = value.__self__
            self._meet(owner, _Place("object", "self", lambda: owner))
            self._function(value.__func__, owner)
        elif kind is types.BuiltinFunctionType:
            self._meet_builtin(value)
        elif issubclass(kind, functools.partial):
            self._meet_partial(value)
        elif kind is _CACHE_TYPE:
            self._meet_cache(value)
        elif issubclass(kind, type):
            self._meet_class(value)
        else:
            return False
        return True

    def _meet_module(self, module: types.ModuleType) -> None:
        self._modules[module.__name__] = None
        if is_user_module(module.__name__):
            self._user_modules[module.__name__] = module

    def _meet_builtin(self, value: types.BuiltinFunctionType) -> None:
        owner = value.__self__
        if isinstance(owner, types.ModuleType):
            self._modules[owner.__name__.lstrip("_")] = None
        elif owner is not None and not isinstance(owner, type):
            name = f"{type(owner).__name__}.{value.__name__}"
            self._meet(owner, _Place("bound", name, lambda: owner))

    def _meet_partial(self, value: functools.partial[Any]) -> None:
        if id(value) in self._met:
            return
        self._met[id(value)] = value
        self._meet(value.func, _Place("bound", callable_name(value.func), lambda: value.func))
        names = [f"argument {index}" for index in range(len(value.args))]
        for name, argument in [*zip(names, value.args, strict=True), *value.keywords.items()]:
            self._meet(argument, _Place("bound", name, functools.partial(_identity, argument)))

    def _meet_cache(self, value: Any) -> None:
        self._caches[callable_name(value)] = None
        self._function(value.__wrapped__, MISSING)

    def _meet_class(self, kind: type) -> None:
        self._modules[kind.__module__] = None
        if not is_user_class(kind) or id(kind) in self._met:
            return
        self._met[id(kind)] = kind
        for name in ("__new__", "__init__", "__post_init__"):
            for base in kind.__mro__:
                if name in vars(base) and is_user_class(base):
                    self._member(vars(base)[name], _InstanceOf(kind) if name != "__new__" else kind)
        self._watch_class(kind)

    def _meet_resource(self, value: Any, place: _Place, path: str) -> bool:
        kind = resource_kind(value)
        if kind is None:
            if _draws_random(value):
                self._generators[f"the random generator `{path}`"] = None
            return False
        self._resources[place.resource(kind, path)] = None
        self._locks = self._locks or kind in ("lock", "condition", "semaphore")
        return True

    def _callable_object(self, value: Any) -> None:
        kind = type(value)
        self._modules[kind.__module__] = None
        if not is_user_class(kind):
            return
        call = inspect.getattr_static(kind, "__call__", None)
        if isinstance(call, types.FunctionType):
            self._function(call, value)

    def _function(self, function: Any, bound: Any) -> None:
        if type(function) is not types.FunctionType:
            if function is not None and self._meet_code(function):
                return
            return
        key = (id(function), id(bound) if not isinstance(bound, _InstanceOf) else id(bound.kind))
        if key in self._seen:
            return
        self._seen[key] = (function, bound)  # kept: an id is only good while its object lives
        self._modules[function.__module__ or "builtins"] = None
        if is_user_file(function.__code__.co_filename):
            self._pending.append((function, bound))
        elif hasattr(function, "__wrapped__"):
            self._function(function.__wrapped__, bound)  # a library's decorator around the user's function

    # -- what to compare before and after -----------------------------------------------------------

    def _target(self, label: str, read: Callable[[], Any]) -> None:
        if len(self._state) >= _TARGETS:
            self._complete = False
        else:
            self._state.setdefault(label, Target(label=label, read=read))

    def _watch(self, value: Any, place: _Place) -> None:
        if not is_state(value):
            return
        own = attributes(value) if place.kind == "object" and not isinstance(value, _CONTAINERS) else {}
        if not 0 < len(own) <= _ATTRIBUTES:
            self._target(place.label(value), place.read)
            return
        for name in own:
            self._target(f"the attribute `self.{name}`", functools.partial(_read_attribute, value, name))
        self._target("attributes of its object", functools.partial(_attribute_names, value))

    def _watch_class(self, kind: type) -> None:
        for name, value in list(vars(kind).items())[: 4 * _ATTRIBUTES]:
            if (
                not name.startswith(("__", "_abc_"))
                and is_state(value)
                and not hasattr(type(value), "__get__")
            ):
                label = f"the class attribute `{kind.__qualname__}.{name}`"
                self._target(label, functools.partial(_read_class, kind, name))
        if not hasattr(kind, "__members__"):
            self._target(f"attributes of the class `{kind.__qualname__}`", lambda: tuple(vars(kind)))

    def _watch_module_attributes(self) -> None:
        for module in self._user_modules.values():
            for name in sorted(self._stored & vars(module).keys()):
                label = f"the global `{module.__name__}.{name}`"
                self._target(label, functools.partial(vars(module).get, name, MISSING))


def _underlying(fn: Any) -> Any:
    while isinstance(fn, functools.partial):
        fn = fn.func
    return getattr(fn, "__func__", fn)


def _defaults(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    values = function.__defaults__ or ()
    names = function.__code__.co_varnames[: function.__code__.co_argcount]
    yield from zip(names[len(names) - len(values) :], values, strict=False)
    yield from (function.__kwdefaults__ or {}).items()


def _read_default(function: types.FunctionType, name: str) -> Any:
    return dict(_defaults(function)).get(name, MISSING)


def _function_attributes(function: types.FunctionType) -> dict[str, Any]:
    return dict(vars(function))


def _read_cell(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # empty
        return MISSING


def _read_attribute(value: Any, name: str) -> Any:
    return attributes(value).get(name, MISSING)


def _attribute_names(value: Any) -> frozenset[str]:
    """Name the attributes an object has; those a cached_property fills in are not news."""
    kind = type(value)
    names = attributes(value).keys()
    cached = functools.cached_property
    return frozenset(n for n in names if not isinstance(inspect.getattr_static(kind, n, None), cached))


def _class_of(base: Any) -> type:
    if isinstance(base, _InstanceOf):
        return base.kind
    return base if isinstance(base, type) else type(base)


def _read_class(kind: type, name: str) -> Any:
    return vars(kind).get(name, MISSING)


def _identity(value: Any) -> Any:
    return value


def _draws_random(value: Any) -> bool:
    return issubclass(type(value), random.Random) or type(value).__module__.startswith("numpy.random")
