"""Names for context variables, which have no name that pickle could find them by.

One that is an attribute of an importable module is found by that. One of ``__main__`` (or of nothing) becomes the
entry of a registry: the worker makes one of the same name, once, and every payload that names it gets that one.
"""

from __future__ import annotations

import functools
import importlib
import sys
from contextvars import Context, ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection

_known: dict[ContextVar[Any], tuple[str, str]] = {}
_unknown: dict[ContextVar[Any], int] = {}
"""Variables in no module's attributes, with the number of modules that were searched."""
_made: dict[tuple[str, str], ContextVar[Any]] = {}
"""The variables that only another process has a module for, by its names for them."""


def name_of(variable: ContextVar[Any]) -> tuple[str, str] | None:
    """Return the module and the attribute that hold `variable`, or None if there is no such place."""
    if (name := _known.get(variable)) is not None:
        return name
    if _unknown.get(variable) == len(sys.modules):
        return None
    if (name := _search(variable)) is None:
        _unknown[variable] = len(sys.modules)
    else:
        _known[variable] = name
    return name


def find(
    name: tuple[str, str], title: str, defaults: tuple[Any, ...], *, registered: bool
) -> ContextVar[Any]:
    """Return the variable called `name`: the module's attribute, or the registry's.

    Args:
        name: Module and attribute.
        title: What the variable calls itself.
        defaults: Its default value, if it has one.
        registered: Whether the module is one that only the other side has.

    Raises:
        ImportError: There is no such module here.
        AttributeError: It has no such variable.
    """
    module, attribute = name
    if not registered:
        found: ContextVar[Any] = getattr(importlib.import_module(module), attribute)
        return found
    own = getattr(sys.modules.get(module), attribute, None)
    if isinstance(own, ContextVar):  # it has come home
        return own
    if name not in _made:
        made: ContextVar[Any] = ContextVar(title, default=defaults[0]) if defaults else ContextVar(title)
        _known[_made.setdefault(name, made)] = name  # it goes back under the name that it came with
    return _made[name]


def reduce_variable(variable: ContextVar[Any], by_value: Collection[str] = ()) -> tuple[Any, ...]:
    """Say to pickle how the other side finds `variable`.

    Args:
        variable: The variable.
        by_value: Modules that the other side must not import, besides ``__main__``.

    Raises:
        TypeError: It is no module's attribute, so nothing names it.
    """
    name = name_of(variable)
    if name is None:
        msg = f"cannot pickle the context variable {variable.name!r}: it is not an attribute of a module"
        raise TypeError(msg)
    registered = name[0] == "__main__" or name[0] in by_value or name in _made
    return functools.partial(find, registered=registered), (name, variable.name, _defaults(variable))


def _defaults(variable: ContextVar[Any]) -> tuple[Any, ...]:
    """Return the variable's default value, if it has one; only an empty context shows it."""
    try:
        return (Context().run(variable.get),)
    except LookupError:
        return ()


def _search(variable: ContextVar[Any]) -> tuple[str, str] | None:
    modules = [
        (name, vars(module)) for name, module in sys.modules.copy().items() if hasattr(module, "__dict__")
    ]
    for name, attributes in modules:  # most are called what they call themselves
        if attributes.get(variable.name) is variable:
            return name, variable.name
    for name, attributes in modules:
        for attribute, value in attributes.copy().items():
            if value is variable:
                return name, attribute
    return None
