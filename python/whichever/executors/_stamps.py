"""May a function that was pickled once be sent again as the same bytes?

One that workers find by its name: always. One that goes as code (a lambda, a closure, anything of ``__main__``):
while everything that went along is what it was. Its stamp lists that: code, defaults, what its cells hold and what
its global names mean, and the same again for the functions and classes among these. All of it is compared by
identity, which takes a microsecond; so it must be unable to change while it stays itself. Where something can (a
list, an object of the user's) there is no stamp, and the function is pickled anew for each task.
"""

from __future__ import annotations

import collections
import contextvars
import dataclasses
import dis
import enum
import logging
import pathlib
import re
import reprlib
import sys
from types import (
    BuiltinFunctionType,
    CellType,
    CodeType,
    EllipsisType,
    FunctionType,
    ModuleType,
    NotImplementedType,
)
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

_FROZEN = frozenset(
    {
        int, float, complex, bool, str, bytes, type(None), range, EllipsisType, NotImplementedType, re.Pattern,
        pathlib.PosixPath, pathlib.PurePosixPath,
        contextvars.ContextVar, logging.Logger,  # go by their names
    }
)  # fmt: skip
_NAMED = frozenset({"functools._lru_cache_wrapper", "numpy._ArrayFunctionDispatcher", "numpy.ufunc"})
"""Types of callables that pickle as their names, beside the built-in ones."""
_ABSENT = object()
_GENERATORS = frozenset({"<string>", reprlib.__file__, collections.__file__, dataclasses.__file__})
"""Where the methods of dataclasses and named tuples come from."""
_MAX_PARTS = 200  # beyond it comparing costs more than pickling


class _ChangeableError(Exception):
    """Something was reached that can change and stay itself."""


@dataclasses.dataclass(frozen=True)
class Stamp:
    """What a pickled function was made of.

    Attributes:
        by_value: The modules that went as code, beside ``__main__``.
        functions: Each function that went as code, with its code, defaults, and keyword defaults.
        cells: Each cell, with what it held.
        names: Each namespace, with a name, and what that meant.
        sizes: The namespace of each class, and each function that has one, with its length.
    """

    by_value: tuple[str, ...]
    functions: tuple[tuple[FunctionType, CodeType, Any, Any], ...] = ()
    cells: tuple[tuple[CellType, Any], ...] = ()
    names: tuple[tuple[Mapping[str, Any], str, Any], ...] = ()
    sizes: tuple[tuple[Mapping[str, Any], int], ...] = ()


def stamp(fn: Callable[..., Any], by_value: tuple[str, ...] = ()) -> Stamp | None:
    """Return the stamp of `fn`, to be kept beside its pickle; None if it must be pickled for each task."""
    if _goes_by_name(fn, by_value):
        return Stamp(by_value)
    if not isinstance(fn, FunctionType | type):
        return None
    parts = _Parts(by_value)
    try:
        parts.add(fn)
    except _ChangeableError:
        return None
    return Stamp(by_value, tuple(parts.functions), tuple(parts.cells), tuple(parts.names), tuple(parts.sizes))


def still_same(stamp: Stamp, by_value: tuple[str, ...] = ()) -> bool:
    """Say whether the function's pickle is still good."""
    if stamp.by_value != by_value:
        return False
    for fn, code, defaults, kwdefaults in stamp.functions:
        if fn.__code__ is not code or fn.__defaults__ is not defaults or fn.__kwdefaults__ is not kwdefaults:
            return False
    for namespace, name, value in stamp.names:
        if namespace.get(name, _ABSENT) is not value:
            return False
    try:
        for cell, value in stamp.cells:
            if cell.cell_contents is not value:
                return False
    except ValueError:  # it was emptied
        return False
    return all(len(namespace) == size for namespace, size in stamp.sizes)


class _Parts:
    """Collects what one function's pickle is made of."""

    def __init__(self, by_value: tuple[str, ...]) -> None:
        self._by_value = by_value
        self._seen: set[int] = set()
        self.functions: list[tuple[FunctionType, CodeType, Any, Any]] = []
        self.cells: list[tuple[CellType, Any]] = []
        self.names: list[tuple[Mapping[str, Any], str, Any]] = []
        self.sizes: list[tuple[Mapping[str, Any], int]] = []

    def add(self, value: Any) -> None:
        """Take in a value and all that it leads to.

        Raises:
            _ChangeableError: Part of it can change and stay itself.
        """
        kind = type(value)
        if kind in _FROZEN or id(value) in self._seen or _goes_by_name(value, self._by_value):
            return
        self._seen.add(id(value))
        if kind in (tuple, frozenset):
            self._add_all(value)
        elif kind is FunctionType:
            self._add_function(value)
        elif isinstance(value, type):
            self._add_class(value)
        elif kind in (staticmethod, classmethod):
            self.add(value.__func__)
        elif kind is property:
            self._add_all((value.fget, value.fset, value.fdel))
        else:
            raise _ChangeableError
        if len(self.functions) + len(self.names) + len(self.cells) > _MAX_PARTS:
            raise _ChangeableError

    def _add_all(self, values: Iterable[Any]) -> None:
        for value in values:
            self.add(value)

    def _add_function(self, fn: FunctionType) -> None:
        self.functions.append((fn, fn.__code__, fn.__defaults__, fn.__kwdefaults__))
        self.add(fn.__defaults__)
        for namespace in (vars(fn), fn.__kwdefaults__):
            if namespace is not None:
                self._add_namespace(namespace)
        for cell in fn.__closure__ or ():
            try:
                value = cell.cell_contents
            except ValueError:  # it will be filled some time
                raise _ChangeableError from None
            self.cells.append((cell, value))
            self.add(value)
        for name in sorted(set(_global_names(fn.__code__))):
            value = fn.__globals__.get(name, _ABSENT)
            self.names.append((fn.__globals__, name, value))
            if value is not _ABSENT:
                self.add(value)

    def _add_class(self, kind: type) -> None:
        if type(kind) not in (type, enum.EnumType):  # a metaclass of its own may keep anything anywhere
            raise _ChangeableError
        self._add_all(kind.__bases__)
        self._add_namespace(vars(kind), kind)
        for field in vars(kind).get("__dataclass_fields__", {}).values():
            self._add_all(
                part for part in (field.default, field.default_factory) if part is not dataclasses.MISSING
            )

    def _add_namespace(self, namespace: Mapping[str, Any], owner: type | None = None) -> None:
        self.sizes.append((namespace, len(namespace)))
        for name, value in namespace.items():
            self.names.append((namespace, name, value))
            if owner is None or not _is_machinery(owner, name, value):
                self.add(value)


def _is_machinery(owner: type, name: str, value: object) -> bool:
    """Say whether a class's attribute is Python's own: slots, annotations, what makes it a dataclass or an enum."""
    if name == "__annotate_func__":
        return True
    if isinstance(value, FunctionType):
        generated = hasattr(owner, "__dataclass_fields__") or hasattr(owner, "_field_defaults")
        return generated and value.__code__.co_filename in _GENERATORS
    if isinstance(value, staticmethod | classmethod | property | type):
        return False
    special = name.startswith("__") and name.endswith("__")
    return (
        special
        or name == "_field_defaults"
        or hasattr(type(value), "__set__")
        or isinstance(owner, enum.EnumType)
    )


def _goes_by_name(value: Any, by_value: tuple[str, ...]) -> bool:
    """Say whether a pickle holds but the name of a module, a function or a class."""
    if isinstance(value, ModuleType):
        name = value.__name__
        return name != "__main__" and name not in by_value and sys.modules.get(name) is value
    if isinstance(value, BuiltinFunctionType) and not isinstance(value.__self__, ModuleType | type | None):
        return False
    if not isinstance(value, FunctionType | BuiltinFunctionType | type) and _type_name(value) not in _NAMED:
        return False
    if isinstance(value, BuiltinFunctionType) and isinstance(value.__self__, type):
        return _goes_by_name(value.__self__, by_value)
    module = getattr(value, "__module__", None) or ""
    found = sys.modules.get(module)
    if found is None or module == "__main__" or module in by_value:
        return False
    for name in getattr(value, "__qualname__", "").split("."):
        found = getattr(found, name, None)
    return found is value


def _type_name(value: object) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _global_names(code: CodeType) -> Iterator[str]:
    """Yield the global names that cloudpickle sends along with a function."""
    for instruction in dis.get_instructions(code):
        if instruction.opname.endswith("_GLOBAL"):
            yield instruction.argval
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _global_names(constant)
