"""What runs a pool's tasks inside a sub-interpreter, on a thread that the standard executor owns."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from contextvars import copy_context

from . import cargo
from .contexts import Arrivals

RETURNED, RAISED, BROKEN = 0, 1, 2
"""How a task ended: with a result, with an error, or not begun because the initializer raised."""

_arrivals = Arrivals()
_failure: bytes | None = None  # of the initializer


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


def _watch(stop: int, thread: int) -> None:
    """Raise SystemExit in the task that runs when the caller gives it up: only threads inside here can."""
    if os.read(stop, 1):
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(SystemExit))
