"""What the processes engine has its pool run: the caller's function, under the orders of one run.

A pool sends a function to a worker once, and again when it has become another one. So what belongs to a run (its
deadline, where to find modules) travels inside the function, as bytes that a worker opens at the run's first task.
"""

from __future__ import annotations

import contextlib
import functools
import os
import pickle
import sys
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from . import cargo
from .loading import loading
from .payload import PROTOCOL, load

if TYPE_CHECKING:
    from collections.abc import Callable


class Orders(NamedTuple):
    """One run.

    Attributes:
        letter: The function, pickled.
        by_value: Modules whose top-level code is running at the caller.
        deadline: ``time.monotonic()`` value from which on no task begins.
        folder: The caller's working folder; empty if it has none.
        path: Its ``sys.path``.
    """

    letter: bytes
    by_value: tuple[str, ...]
    deadline: float | None
    folder: str
    path: list[str]


class Late:
    """Stands for the result of a task that did not begin, for the deadline had passed."""


class Unloadable:
    """Stands for the result of a task whose function the worker could not load.

    Attributes:
        error: Why, from `cargo.dump_error`.
    """

    def __init__(self, error: bytes) -> None:
        self.error = error


def errand(orders: Orders) -> Callable[[Any], Any]:
    """Return the function to hand in: it holds nothing but bytes, so that a pool can tell that it stays the same."""
    blob = pickle.dumps(tuple(orders), PROTOCOL)

    def run(item: Any) -> Any:
        return _open(blob)(item)

    return run


@functools.lru_cache(maxsize=1)
def _open(blob: bytes) -> Callable[[Any], Any]:
    """Follow the orders up to the first task."""
    orders = Orders(*load(blob))
    sys.path[:] = orders.path
    if orders.folder:
        with contextlib.suppress(OSError):
            os.chdir(orders.folder)
    cargo.forbid(orders.by_value)
    try:
        with loading:
            fn: Callable[[Any], Any] = load(orders.letter)
    except BaseException as error:  # noqa: BLE001 - importing the task's module may raise anything
        refusal = Unloadable(cargo.dump_error(error))
        return lambda _: refusal
    return fn if orders.deadline is None else _until(orders.deadline, fn)


def _until(deadline: float, fn: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def run(item: Any) -> Any:
        return Late() if time.monotonic() >= deadline else fn(item)

    return run
