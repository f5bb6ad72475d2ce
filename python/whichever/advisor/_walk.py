"""The walk behind `inspect_function`: from a function to everything its names lead to, breadth first, bounded."""

from __future__ import annotations

import builtins
import collections
import contextlib
import functools
import importlib.util
import inspect
import sys
import time
import types
from typing import TYPE_CHECKING, Any

from whichever.advisor._bytecode import CodeFacts, Import, Load, scan
from whichever.advisor._findings import Findings
from whichever.advisor._inside import parts
from whichever.advisor._kinds import is_user_class, is_user_file, is_user_module, module_of, mro_of
from whichever.advisor._places import (
    InstanceOf,
    Place,
    class_of,
    defaults,
    function_attributes,
    read_cell,
    read_default,
    underlying,
)
from whichever.advisor._reach import MISSING, callable_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from whichever.advisor._reach import Reach

_FUNCTIONS = 300
_SECONDS = 0.25
_CACHE_TYPE = type(functools.lru_cache(maxsize=1)(len))


def inspect_function(fn: Callable[..., Any], first_item: Any = MISSING) -> Reach:
    """Find what `fn` reaches, without running anything.

    Args:
        fn: Any callable; of a builtin or a C function nothing can be seen and nothing is reported.
        first_item: An item it will be called with; with it, the item's own methods are looked at too.
    """
    walk = _Walk(fn)
    walk.start(first_item)
    walk.run()
    return walk.found.reach(fn)


class _Walk:
    def __init__(self, fn: Any) -> None:
        self._fn = fn
        self._pending: collections.deque[tuple[types.FunctionType, Any]] = collections.deque()
        self._seen: dict[tuple[int, int], Any] = {}
        self._met: dict[int, Any] = {}
        self.found = Findings(getattr(underlying(fn), "__module__", None))
        self._first_item: Any = MISSING

    def start(self, first_item: Any) -> None:
        if first_item is not MISSING:
            self._first_item = first_item
            self.found.modules[module_of(type(first_item))] = None
        fn = self._fn
        self._meet(fn, Place("object", "self", lambda: fn))

    def run(self) -> None:
        deadline = time.thread_time() + _SECONDS
        while self._pending:
            if len(self.found.functions) >= _FUNCTIONS or time.thread_time() > deadline:
                self.found.complete = False
                return
            function, bound = self._pending.popleft()
            self.found.functions[function.__qualname__] = None
            self._visit(function, bound)

    @contextlib.contextmanager
    def _forgiving(self) -> Iterator[None]:
        """Go on with the rest when a class of the user's raises on being looked at (a metaclass may)."""
        try:
            yield
        except Exception:  # noqa: BLE001 -- it may raise anything
            self.found.complete = False

    # -- one function -------------------------------------------------------------------------------

    def _visit(self, function: types.FunctionType, bound: Any) -> None:
        facts = scan(function.__code__)
        home = function.__globals__
        self.found.note_writes(function, facts)
        if facts.stored_attributes or vars(function).keys() - {"__wrapped__"}:
            label = f"attributes of the function `{function.__qualname__}`"
            self.found.target(label, functools.partial(function_attributes, function))
        locals_ = self._locals(function, bound)
        cells = self._closure(function)
        for load in sorted(facts.loads, key=lambda load: (load.scope, load.name, load.attributes)):
            if load.scope == "global":
                self._load_global(home, load)
            else:
                known = cells if load.scope == "free" else locals_
                self._follow(known.get(load.name, MISSING), load.attributes, load.name)
        for name, value in defaults(function):
            self._meet(value, Place("default", name, functools.partial(read_default, function, name)))
        for imported in facts.imports:
            self._import(imported, home, facts)
        for name in facts.super_attributes:
            self._super(bound, name)

    def _locals(self, function: types.FunctionType, bound: Any) -> dict[str, Any]:
        names = function.__code__.co_varnames[: function.__code__.co_argcount]
        values = [] if bound is MISSING else [bound]
        if function is underlying(self._fn) and self._first_item is not MISSING:
            values.append(self._first_item)
        return dict(zip(names, values, strict=False))

    def _closure(self, function: types.FunctionType) -> dict[str, Any]:
        found = {}
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=False):
            value = found[name] = read_cell(cell)
            if value is not MISSING:
                self._meet(value, Place("closure", name, functools.partial(read_cell, cell)))
        return found

    def _load_global(self, home: dict[str, Any], load: Load) -> None:
        if load.name not in home:
            if not hasattr(builtins, load.name):
                # not bound yet: a call may bind it
                self.found.target(
                    f"the global `{load.name}`", functools.partial(home.get, load.name, MISSING)
                )
            return
        value = home[load.name]
        module = home.get("__name__")
        label = self.found.global_label(load.name, module if isinstance(module, str) else None)
        name = label.removeprefix("the global ").strip("`")
        self._meet(value, Place("global", name, functools.partial(home.get, load.name, MISSING)))
        self._follow(value, load.attributes, name)

    def _import(self, imported: Import, home: dict[str, Any], facts: CodeFacts) -> None:
        name = imported.module
        if imported.level:
            package = home.get("__package__") or ""
            try:
                name = importlib.util.resolve_name("." * imported.level + name, package)
            except ImportError:
                return
        self.found.modules[name] = None
        module = sys.modules.get(name)
        if module is None or not is_user_module(name):
            return
        for part in imported.names:
            self._follow(module, (part,), name)
        for load in facts.loads:
            if load.name == imported.alias and load.scope == "local":
                self._follow(module, load.attributes, name)

    def _super(self, bound: Any, name: str) -> None:
        for base in mro_of(class_of(bound))[1:]:
            if name in vars(base):
                self._member(vars(base)[name], bound)

    # -- one value ----------------------------------------------------------------------------------

    def _follow(self, base: Any, names: tuple[str, ...], path: str) -> None:
        """Look at what ``base.a.b`` leads to, without running a property or a module's ``__getattr__``."""
        with self._forgiving():
            self._follow_anything(base, names, path)

    def _follow_anything(self, base: Any, names: tuple[str, ...], path: str) -> None:
        for name in names:
            if base is MISSING:
                return
            path = f"{path}.{name}"
            if isinstance(base, types.ModuleType):
                base = self._module_attribute(base, name, path)
                continue
            if not is_user_class(class_of(base)):
                return
            owner = base.kind if isinstance(base, InstanceOf) else base
            value = inspect.getattr_static(owner, name, MISSING)
            self._member(value, base)
            base = value if is_user_class(type(value)) else MISSING

    def _module_attribute(self, module: types.ModuleType, name: str, path: str) -> Any:
        value = vars(module).get(name, MISSING)
        if isinstance(value, types.ModuleType):
            self.found.module(value)
        elif not is_user_module(module.__name__):
            return MISSING
        elif value is not MISSING:
            self._meet(value, Place("global", path, functools.partial(vars(module).get, name, MISSING)))
        return value

    def _member(self, value: Any, owner: Any) -> None:
        """Look at what a class holds under a method's name."""
        if isinstance(value, staticmethod):
            self._function(value.__func__, MISSING)
        elif isinstance(value, classmethod):
            self._function(value.__func__, class_of(owner))
        elif isinstance(value, property):
            self._function(value.fget, owner)
        elif isinstance(value, functools.cached_property):
            self._function(value.func, owner)
        elif isinstance(value, types.FunctionType):
            # a function taken from a class itself is called with an instance nobody knows yet
            self._function(value, InstanceOf(owner) if isinstance(owner, type) else owner)
        elif type(value) is _CACHE_TYPE:
            self._meet_cache(value)

    def _meet(self, value: Any, place: Place) -> None:
        """Look at a value the function comes to; deeper parts of data are looked at for what they hold."""
        with self._forgiving():
            self._meet_anything(value, place)

    def _meet_anything(self, value: Any, place: Place) -> None:
        if self._meet_code(value):
            return
        first_time = id(value) not in self._met
        self._met[id(value)] = value
        if not first_time:
            self.found.watch(value, place)
            return
        if self.found.resource(value, place, place.name):
            return
        self.found.watch(value, place)
        for path, part in parts(value, place.name):
            self.found.modules[module_of(type(part))] = None
            if not self._meet_code(part):
                self.found.resource(part, place, path)
        self._callable_object(value)

    def _meet_code(self, value: Any) -> bool:
        """Look at a module, function, method, class or partial; False when `value` is none of these."""
        kind = type(value)
        if issubclass(kind, types.ModuleType):
            self.found.module(value)
        elif kind is types.FunctionType:
            self._function(value, MISSING)
        elif kind is types.MethodType:
            owner = value.__self__
            self._meet(owner, Place("object", "self", lambda: owner))
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

    def _meet_builtin(self, value: types.BuiltinFunctionType) -> None:
        owner = value.__self__
        if isinstance(owner, types.ModuleType):
            self.found.modules[owner.__name__.lstrip("_")] = None
        elif owner is not None and not isinstance(owner, type):
            name = f"{type(owner).__name__}.{value.__name__}"
            self._meet(owner, Place("bound", name, lambda: owner))

    def _meet_partial(self, value: functools.partial[Any]) -> None:
        if id(value) in self._met:
            return
        self._met[id(value)] = value
        self._meet(value.func, Place("bound", callable_name(value.func), lambda: value.func))
        names = [f"argument {index}" for index in range(len(value.args))]
        for name, argument in [*zip(names, value.args, strict=True), *value.keywords.items()]:
            self._meet(argument, Place("bound", name, _reader(argument)))

    def _meet_cache(self, value: Any) -> None:
        self.found.caches[callable_name(value)] = None
        self._function(value.__wrapped__, MISSING)

    def _meet_class(self, kind: type) -> None:
        self.found.modules[module_of(kind)] = None
        if not is_user_class(kind) or id(kind) in self._met:
            return
        self._met[id(kind)] = kind
        for name in ("__new__", "__init__", "__post_init__"):
            for base in mro_of(kind):
                if name in vars(base) and is_user_class(base):
                    self._member(vars(base)[name], InstanceOf(kind) if name != "__new__" else kind)
        self.found.watch_class(kind)

    def _callable_object(self, value: Any) -> None:
        kind = type(value)
        self.found.modules[module_of(kind)] = None
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
        key = (id(function), id(bound) if not isinstance(bound, InstanceOf) else id(bound.kind))
        if key in self._seen:
            return
        self._seen[key] = (function, bound)  # kept: an id is only good while its object lives
        self.found.modules[function.__module__ or "builtins"] = None
        if is_user_file(function.__code__.co_filename):
            self._pending.append((function, bound))
        elif hasattr(function, "__wrapped__"):
            self._function(function.__wrapped__, bound)  # a library's decorator around the user's function


def _reader(value: Any) -> Callable[[], Any]:
    return lambda: value
