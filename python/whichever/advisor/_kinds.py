"""What kind of thing a value is: one that cannot cross into another process, user code or a library's, plain data.

Asks types only; never calls a method of the value, so asking changes nothing. Types of modules that are not
loaded are not looked for: no value can be of them.
"""

from __future__ import annotations

import collections.abc
import functools
import io
import logging
import random
import re
import sys
import sysconfig
import threading
import types
import weakref
from pathlib import Path
from typing import Any

_RESOURCES: tuple[tuple[str, str, str], ...] = (
    # module, type, what to call it; the first match names it
    ("threading", "Condition", "condition"),
    ("threading", "Event", "event"),
    ("threading", "Semaphore", "semaphore"),
    ("threading", "Barrier", "barrier"),
    ("threading", "Thread", "thread"),
    ("socket", "socket", "socket"),
    ("tempfile", "_TemporaryFileWrapper", "open file"),
    ("mmap", "mmap", "memory map"),
    ("subprocess", "Popen", "child process"),
    ("queue", "Queue", "queue"),
    ("queue", "SimpleQueue", "queue"),
    ("concurrent.futures", "Executor", "pool"),
    ("concurrent.futures", "Future", "future"),
    ("asyncio", "AbstractEventLoop", "event loop"),
    ("asyncio", "Future", "asyncio future"),
    ("asyncio", "Lock", "asyncio lock"),
    ("asyncio", "Event", "asyncio event"),
    ("asyncio", "Semaphore", "asyncio semaphore"),
    ("asyncio", "Condition", "asyncio condition"),
    ("asyncio", "Queue", "asyncio queue"),
    ("asyncio", "StreamReader", "asyncio stream"),
    ("asyncio", "StreamWriter", "asyncio stream"),
    ("multiprocessing.synchronize", "SemLock", "lock"),
    ("multiprocessing.queues", "Queue", "queue"),
    ("multiprocessing.pool", "Pool", "pool"),
    ("sqlite3", "Connection", "database connection"),
    ("sqlite3", "Cursor", "database cursor"),
    ("asyncpg", "Connection", "database connection"),
    ("asyncpg", "Pool", "database pool"),
)

_BUILTIN_RESOURCES: tuple[tuple[type, str], ...] = (
    (types.GeneratorType, "generator"),
    (types.AsyncGeneratorType, "async generator"),
    (types.CoroutineType, "coroutine"),
    (type(threading.Lock()), "lock"),
    (type(threading.RLock()), "lock"),
)
_DATA_MODULES = frozenset((
    "builtins", "collections", "array", "numpy", "pandas", "polars", "pyarrow", "datetime",
    "pathlib", "types", "uuid",
))  # fmt: skip
_MRO = vars(type)["__mro__"]
_NOT_STATE = (
    random.Random, logging.Logger, logging.Handler, logging.LoggerAdapter, re.Pattern, weakref.ref, threading.local,
    types.ModuleType, types.FunctionType, types.BuiltinFunctionType, types.MethodType, type, property,
)  # fmt: skip


def resource_kind(value: Any) -> str | None:
    """Name what `value` is when it belongs to this process alone ("lock", "open file"); None otherwise."""
    owner = type(value)  # not isinstance: a proxy's __class__ may run code of its own
    for builtin, kind in _BUILTIN_RESOURCES:
        if issubclass(owner, builtin):
            return kind
    if issubclass(owner, io.IOBase):
        return _file_kind(value)
    for module, name, kind in _RESOURCES:
        loaded = sys.modules.get(module)
        expected = getattr(loaded, name, None)
        if isinstance(expected, type) and issubclass(owner, expected):
            return kind
    if _speaks_dbapi(owner):
        return "database connection"
    if issubclass(owner, collections.abc.Iterator) and not is_user_class(owner):
        return "iterator"
    return None


def _file_kind(value: Any) -> str | None:
    if issubclass(type(value), (io.BytesIO, io.StringIO)):
        return None
    standard = (sys.stdin, sys.stdout, sys.stderr, sys.__stdin__, sys.__stdout__, sys.__stderr__)
    return None if any(value is stream for stream in standard) else "open file"


def _speaks_dbapi(kind: type) -> bool:
    """Tell a database connection by the four methods that PEP 249 asks of one."""
    return all(
        any(name in vars(base) for base in mro_of(kind)) for name in ("cursor", "commit", "rollback", "close")
    )


def is_state(value: Any) -> bool:
    """Whether a change of `value` is something a caller could miss: plain data and objects of user classes.

    Random number generators, loggers, compiled patterns and other objects of libraries are not: they change
    for their own reasons (connection pools, caches), and every worker makes its own.
    """
    kind = type(value)
    if issubclass(kind, _NOT_STATE) or draws_random(value):
        return False
    if issubclass(kind, (io.BytesIO, io.StringIO)):
        return True
    return module_of(kind).partition(".")[0] in _DATA_MODULES or is_user_class(kind)


def draws_random(value: Any) -> bool:
    """Whether `value` is a random number generator."""
    kind = type(value)
    return issubclass(kind, random.Random) or module_of(kind).startswith("numpy.random")


def mro_of(kind: type) -> tuple[type, ...]:
    """Give a class and its bases, past whatever its metaclass makes of ``__mro__``."""
    bases: tuple[type, ...] = _MRO.__get__(kind)
    return bases


def module_of(kind: type) -> str:
    """Name the module of a class; "" where the class was given something else for a name."""
    name = kind.__module__
    return name if isinstance(name, str) else ""


def is_user_class(kind: type) -> bool:
    """Whether `kind` is defined in the user's own code."""
    return is_user_module(module_of(kind))


def is_user_module(name: str | None) -> bool:
    """Whether a module is the user's own: neither built in, of the standard library, nor installed."""
    if name in (None, "builtins") or name in sys.builtin_module_names:
        return False
    if name == "__main__":
        return True
    module = sys.modules.get(str(name))
    if module is None:
        return True
    path = getattr(module, "__file__", None)
    if path is None:
        spec = getattr(module, "__spec__", None)
        return spec is None or spec.origin not in ("built-in", "frozen")
    return is_user_file(str(path))


@functools.lru_cache(maxsize=4096)
def is_user_file(path: str) -> bool:
    """Whether code from `path` is the user's own. Text that was executed (``<stdin>``, a notebook) is."""
    if path.startswith("<frozen"):
        return False
    if {"site-packages", "dist-packages"}.intersection(Path(path).parts):
        return False
    return not any(path.startswith(folder) for folder in _library_folders())


@functools.cache
def _library_folders() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    folders = {paths["stdlib"], paths["platstdlib"], str(Path(__file__).parents[1])}
    return tuple(folder.rstrip("/") + "/" for folder in folders)
