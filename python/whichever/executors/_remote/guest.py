"""What runs a pool's tasks inside a sub-interpreter, on a thread that the standard executor owns."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import time
from contextvars import copy_context
from typing import Any

from . import cargo
from .contexts import Arrivals

RETURNED, RAISED, BROKEN = 0, 1, 2
"""How a task ended: with a result, with an error, or not begun because the initializer raised."""
PICKLED = "what a task takes along to a sub-interpreter is pickled"
"""The note of what does not pickle."""

_arrivals = Arrivals()
_failure: bytes | None = None  # of the initializer
_kept: tuple[bytes, Any] = (b"", None)  # the last function of a `map`, and what it was loaded from


def prepare(path: list[str], stop: int, letter: bytes | None) -> None:
    """Make this interpreter ready for `run`.

    Args:
        path: The caller's ``sys.path``.
        stop: A descriptor. A byte from there is to interrupt the task that runs; its end ends the watch.
        letter: The initializer's call, if there is one.
    """
    global _arrivals, _failure  # noqa: PLW0603 - an interpreter serves one pool
    sys.path[:] = path
    threading.Thread(target=_watch, args=(stop, threading.get_ident()), name="whichever-stop").start()
    if letter is None:
        return
    try:
        fn, args, kwargs = cargo.load_call(letter)
        fn(*args, **kwargs)
        _arrivals = Arrivals(copy_context())
    except BaseException as error:  # noqa: BLE001 - it may raise anything; whoever waits for a task hears of it
        _failure = cargo.dump_error(error)


def run(letter: bytes, context: bytes) -> tuple[int, bytes]:
    """Run a call that was pickled; return how it ended and the pickled result or error."""
    if _failure is not None:
        return BROKEN, _failure
    try:
        fn, args, kwargs = cargo.load_call(letter)
        value = _arrivals.context(context).run(fn, *args, **kwargs)
        return RETURNED, cargo.dump_whole(value)
    except BaseException as error:  # noqa: BLE001 - a task may raise anything
        return RAISED, cargo.dump_error(error)


def run_all(
    letter: bytes, letters: tuple[bytes, ...], context: bytes, most_seconds: float
) -> tuple[float, tuple[tuple[int, bytes], ...]]:
    """Run one function on many tuples of arguments, for so long; return what that took, and how those ended that ran.

    Args:
        letter: A call of the function without arguments, pickled.
        letters: The arguments of each task, pickled.
        context: The context variables of each.
        most_seconds: When to begin no more of them.
    """
    begun = time.perf_counter()
    ended: list[tuple[int, bytes]] = []
    for arguments in letters:
        ended.append(_run_one(letter, arguments, context))
        if time.perf_counter() - begun > most_seconds:
            break
    return time.perf_counter() - begun, tuple(ended)


def _run_one(letter: bytes, arguments: bytes, context: bytes) -> tuple[int, bytes]:
    global _kept  # noqa: PLW0603 - as above
    if _failure is not None:
        return BROKEN, _failure
    try:
        if _kept[0] != letter:
            fn, _, _ = cargo.load_call(letter)
            _kept = letter, fn
        fn = _kept[1]
        args = cargo.load_result(arguments)
        value = _arrivals.context(context).run(fn, *args)
        return RETURNED, cargo.dump_whole(value)
    except BaseException as error:  # noqa: BLE001 - a task may raise anything
        return RAISED, cargo.dump_error(error)


def _watch(stop: int, thread: int) -> None:
    """Raise SystemExit in the task that runs when the caller gives it up: only threads inside here can."""
    if os.read(stop, 1):
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(SystemExit))
