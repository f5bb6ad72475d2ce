"""Which modules a worker has to import to run a function, and which it must not."""

from __future__ import annotations

import functools
import sys
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def modules_of(fn: Callable[..., Any]) -> list[str]:
    """Return the names of the modules that `fn` belongs to or names in its code, except ``__main__``.

    Follows functions of ``__main__`` that it calls; they travel as code and bring their modules along.
    """
    found: dict[str, None] = {}
    queue: list[object] = [fn]
    seen: set[int] = set()
    while queue:
        thing = _unwrap(queue.pop())
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        name = thing.__name__ if isinstance(thing, ModuleType) else getattr(thing, "__module__", None)
        if isinstance(name, str) and name in sys.modules and name != "__main__":
            found[name] = None
        elif isinstance(thing, FunctionType):
            queue += _named(thing)
    return sorted(found)


def running_modules() -> tuple[str, ...]:
    """Return the modules whose top-level code has called us: importing them would run it again."""
    names: dict[str, None] = {}
    frame = sys._getframe()  # noqa: SLF001 - the public inspect.stack reads source files for every frame
    while frame := frame.f_back:  # type: ignore[assignment]  # None ends the loop
        if frame.f_code.co_name == "<module>":
            names[str(frame.f_globals.get("__name__"))] = None
    names.pop("__main__", None)  # always treated so
    return tuple(names)


def _unwrap(thing: object) -> object:
    while isinstance(thing, functools.partial):
        thing = thing.func
    if isinstance(thing, MethodType):
        thing = thing.__func__
    return thing if isinstance(thing, FunctionType | ModuleType | type) else type(thing)


def _named(fn: FunctionType) -> Iterator[object]:
    """Yield what the function's code names: globals, and what its closure holds."""
    for name in _names(fn.__code__):
        if name in fn.__globals__:
            yield fn.__globals__[name]
    for cell in fn.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # not assigned yet
            continue


def _names(code: CodeType) -> set[str]:
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= _names(constant)
    return names
