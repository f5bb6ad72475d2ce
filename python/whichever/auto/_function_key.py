"""Which function this is, in this run and the next: its name, and what its code says.

Two functions with one key have the same name and do the same: bytecode, constants, names and defaults are equal, and so
are those of functions in their closures. Where the code stands (file, lines) has no say, what it finds in global
variables neither.
"""

from __future__ import annotations

import functools
import os
import sys
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_DEPTH = 6  # of functions inside functions: a wrapper of a partial of a method of an object, and more
_MOST_TEXT = 200  # characters or bytes of a default; longer values are data, of which only the type counts
_MOST_ITEMS = 16  # of a tuple, likewise
_MOST_BITS = 1024  # of a whole number, likewise
_SCALARS = frozenset({type(None), bool, float, complex, type(...)})


def function_key(fn: Callable[..., Any]) -> str | None:
    """Return the key; None where nothing of `fn` stays the same from run to run."""
    try:
        described = _describe(fn, _DEPTH)
    except Exception:  # noqa: BLE001 - the function's own class may raise anything when asked for its name
        return None
    return None if described is None else digest(described, 16)


def digest(value: object, size: int) -> str:
    """Return a hash of plain values, of so many bytes, in hexadecimal digits."""
    from hashlib import blake2b  # noqa: PLC0415 - loads OpenSSL

    return blake2b(repr(value).encode(), digest_size=size).hexdigest()


def _describe(fn: Any, depth: int) -> object:
    """Return plain values that say what `fn` is; None where there is nothing to say."""
    if depth == 0:
        return type(fn).__qualname__
    if isinstance(fn, FunctionType):
        return _of_function(fn, depth)
    if isinstance(fn, functools.partial):
        arguments = [
            *map(_value, fn.args),
            *((name, _value(value)) for name, value in sorted(fn.keywords.items())),
        ]
        return "partial", _describe(fn.func, depth - 1), arguments
    if isinstance(fn, MethodType | BuiltinFunctionType):
        return _of_method(fn, depth)
    if isinstance(fn, type):
        return (
            "class",
            _name(fn),
            _version(fn.__module__),
            _of_python(getattr(fn, "__init__", None), depth),
            _of_python(fn.__new__, depth),
        )
    return _of_object(fn, depth)


def _of_function(fn: FunctionType, depth: int) -> object:
    defaults = [*map(_value, fn.__defaults__ or ())]
    defaults += [(name, _value(value)) for name, value in sorted((fn.__kwdefaults__ or {}).items())]
    cells = [_cell(cell, depth) for cell in fn.__closure__ or ()]
    return "function", _module(fn.__module__), fn.__qualname__, _code(fn.__code__), defaults, cells


def _of_method(fn: MethodType | BuiltinFunctionType, depth: int) -> object:
    owner = fn.__self__ if isinstance(fn.__self__, type) else type(fn.__self__)
    if isinstance(fn, MethodType):
        return "method", _name(owner), _describe(fn.__func__, depth - 1)
    return "native", fn.__module__ or _name(owner), fn.__qualname__, _version(fn.__module__)


def _of_object(fn: Any, depth: int) -> object:
    """Describe an object that can be called: by its class, by the function that it wraps, by the name that it has."""
    kind = type(fn)
    wrapped = getattr(fn, "__dict__", {}).get("__wrapped__")  # of what functools makes, and others like it
    if wrapped is not None:
        return "wrapper", _name(kind), _describe(wrapped, depth - 1)
    own = getattr(fn, "__qualname__", None) or getattr(fn, "__name__", None)
    called = _of_python(kind.__call__, depth)
    if not isinstance(own, str):
        own = None
    if called is None and own is None and kind.__module__ == "builtins":
        return None
    return "object", _name(kind), own, called, _version(kind.__module__)


def _of_python(fn: Any, depth: int) -> object:
    """Describe what may be a function of Python; None for one of native code."""
    return _of_function(fn, depth - 1) if isinstance(fn, FunctionType) else None


def _cell(cell: Any, depth: int) -> object:
    try:
        content = cell.cell_contents
    except ValueError:
        return "empty"
    if isinstance(content, FunctionType | MethodType | functools.partial):
        return _describe(content, depth - 1)
    return _name(type(content))


def _code(code: CodeType) -> object:
    """Describe code: what it does, not where it stands."""
    return (
        code.co_code,
        [_constant(value) for value in code.co_consts],
        (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars),
        (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags),
        getattr(code, "co_exceptiontable", b""),
    )


def _constant(value: Any) -> object:
    if isinstance(value, CodeType):
        return _code(value)
    if isinstance(value, tuple):
        return [_constant(item) for item in value]
    if isinstance(value, frozenset):
        return "set", sorted(repr(_constant(item)) for item in value)  # their order changes from run to run
    if isinstance(value, int) and not isinstance(value, bool):
        return hex(value)  # the decimal digits of a huge one are refused
    return type(value).__qualname__, repr(value)


def _value(value: Any) -> object:
    """Describe a default or a partial's argument: small plain ones by value, all else by type."""
    kind = type(value)
    if kind in _SCALARS:
        return repr(value)
    if kind is int and value.bit_length() <= _MOST_BITS:
        return hex(value)
    if kind in (str, bytes) and len(value) <= _MOST_TEXT:
        return repr(value)
    if kind is tuple and len(value) <= _MOST_ITEMS:
        return [_value(item) for item in value]
    if isinstance(value, FunctionType):
        return _of_function(value, 1)
    return _name(kind)


def _name(kind: type) -> tuple[str, str]:
    return _module(kind.__module__), kind.__qualname__


def _module(name: str | None) -> str:
    """Return a module's name; of the program that was started, its file: another program has other functions."""
    if name != "__main__":
        return name or ""
    main = sys.modules["__main__"]
    spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
    if spec is not None:
        return f"__main__ {spec.name}"
    return f"__main__ {os.path.abspath(file)}" if file else "__main__"  # noqa: PTH100 - cheaper than pathlib


def _version(module: str | None) -> str | None:
    """Return the version of the package that a module of native code belongs to, if it tells."""
    top = sys.modules.get((module or "").partition(".")[0])
    version = getattr(top, "__version__", None)
    return version if isinstance(version, str) else None
