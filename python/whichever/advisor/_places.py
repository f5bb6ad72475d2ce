"""How a function comes to a value: the words for it, and how to read it again later."""

from __future__ import annotations

import functools
import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from whichever.advisor._inside import attributes
from whichever.advisor._reach import MISSING

if TYPE_CHECKING:
    import types
    from collections.abc import Callable, Iterator

PlaceKind = Literal["global", "closure", "default", "object", "bound"]


@dataclass(frozen=True, slots=True)
class Place:
    """One way of coming to a value.

    Attributes:
        kind: By a global, a closure, a default argument, the object of a bound method, a partial's argument.
        name: The name that a person would use for the value.
        read: Gives the value that stands there now.
    """

    kind: PlaceKind
    name: str
    read: Callable[[], Any]

    def resource(self, kind: str, path: str) -> str:
        """Say that the function comes to something of this process alone."""
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
        """Name the value as a piece of state."""
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
class InstanceOf:
    """Stands for an instance that does not exist yet, in a constructor or a method called on its class."""

    kind: type


def underlying(fn: Any) -> Any:
    """Give the plain function behind partials and bound methods."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    return getattr(fn, "__func__", fn)


def defaults(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    """Yield the parameters that have a default, with it."""
    values = function.__defaults__ or ()
    names = function.__code__.co_varnames[: function.__code__.co_argcount]
    yield from zip(names[len(names) - len(values) :], values, strict=False)
    yield from (function.__kwdefaults__ or {}).items()


def read_default(function: types.FunctionType, name: str) -> Any:
    """Read the default of one parameter."""
    return dict(defaults(function)).get(name, MISSING)


def function_attributes(function: types.FunctionType) -> dict[str, Any]:
    """Read what is stored on the function itself."""
    return dict(vars(function))


def read_cell(cell: types.CellType) -> Any:
    """Read a closed-over variable."""
    try:
        return cell.cell_contents
    except ValueError:  # empty
        return MISSING


def read_attribute(value: Any, name: str) -> Any:
    """Read an attribute that the instance itself stores."""
    return attributes(value).get(name, MISSING)


def attribute_names(value: Any) -> frozenset[str]:
    """Name the attributes an object has; those a cached_property fills in are not news."""
    kind = type(value)
    names = attributes(value).keys()
    cached = functools.cached_property
    return frozenset(n for n in names if not isinstance(inspect.getattr_static(kind, n, None), cached))


def class_of(base: Any) -> type:
    """Give the class whose methods `base` has; a class has its own."""
    if isinstance(base, InstanceOf):
        return base.kind
    return base if isinstance(base, type) else type(base)


def read_class(kind: type, name: str) -> Any:
    """Read what a class itself holds under a name."""
    return vars(kind).get(name, MISSING)
