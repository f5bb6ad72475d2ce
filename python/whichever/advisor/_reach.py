"""What a function reaches, found before it runs: state, other functions, and things bound to this process.

Follows names through globals, closures, defaults, bound objects and the functions they lead to, in the
user's own code only and within bounds. It runs nothing of the user's: attributes are looked up without
descriptors, modules that are not loaded yet are not imported. What it cannot follow (a method of an unknown
object, ``getattr`` by a computed name) is left to the comparison of state around the samples.
"""

from __future__ import annotations

import functools
import inspect
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

FunctionKind = Literal["plain", "coroutine", "generator", "async generator"]

MISSING: Any = object()
"""Stands for a name that is not bound (yet, or any more)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A piece of state that the function reaches and might write.

    Attributes:
        label: What it is, in words: "the global `cache`".
        read: Gives its value now; `MISSING` when it has none.
    """

    label: str
    read: Callable[[], Any] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """What a function reaches, as far as it can be told before it runs.

    Attributes:
        name: The function's qualified name.
        kind: How a call behaves: runs, or only makes a coroutine or a generator.
        writes: What its code is seen to write, in words: "writes the global `total`".
        set_once: Globals it assigns only while they are None: "the global `model`".
        resources: What it reaches that cannot be in two processes: "closes over the lock `lock`".
        advanced: Of these, the generators: two threads cannot advance one at once.
        modules: Modules that it and what it reaches come from or use; the ones to load ahead.
        caches: Functions it reaches that keep an ``lru_cache``.
        generators: Random number generators of the user's that it reaches.
        state: What a call might change, for comparing before and after.
        functions: Names of the functions that were looked at.
        locks: Whether a lock is among what it reaches.
        complete: Whether everything was looked at; False when a bound was met.
    """

    name: str
    kind: FunctionKind
    writes: tuple[str, ...] = ()
    set_once: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    advanced: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    caches: tuple[str, ...] = ()
    generators: tuple[str, ...] = ()
    state: tuple[Target, ...] = field(default=(), repr=False)
    functions: tuple[str, ...] = ()
    locks: bool = False
    complete: bool = True

    def notes(self) -> tuple[str, ...]:
        """Say what a user should know though it excludes no engine."""
        found = [f"each worker process has its own lru_cache of `{name}`" for name in self.caches]
        found += [f"each worker process sets {label} for itself" for label in self.set_once]
        found += [f"each worker process draws from its own copy of {label}" for label in self.generators]
        if self.kind in ("generator", "async generator"):
            found.append(
                f"`{self.name}` is a generator function: calling it only makes a generator and runs nothing"
            )
        return tuple(found)


def function_kind(fn: Any) -> FunctionKind:
    """Say what calling `fn` does, looking through partials, bound methods and callable objects."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    candidates = [fn]
    if not (inspect.isroutine(fn) or inspect.isclass(fn)):
        candidates.append(inspect.getattr_static(type(fn), "__call__", None))
    for candidate in candidates:
        if inspect.iscoroutinefunction(candidate):
            return "coroutine"
        if inspect.isasyncgenfunction(candidate):
            return "async generator"
        if inspect.isgeneratorfunction(candidate):
            return "generator"
    return "plain"


def callable_name(fn: Any) -> str:
    """Name a callable as a person would: its qualified name, a partial's function, an object's class."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    name = getattr(fn, "__qualname__", None)
    return name if isinstance(name, str) else type(fn).__qualname__
