"""How pools end: what becomes of those that are open when the interpreter does, and what one that is over says.

Open pools are joined, or ended at once after Ctrl-C.
"""

from __future__ import annotations

import os
import sys
import threading
from abc import ABC, abstractmethod

from whichever import _core
from whichever.errors import PoolBrokenError


class Ending(ABC):
    """The part of a pool that outlives whoever held the pool, and ends it at exit."""

    def keep(self) -> None:
        """Have the pool ended at exit, unless `forget` comes first."""
        _open[id(self)] = self

    def forget(self) -> None:
        """Leave the exit alone: the pool is over."""
        _open.pop(id(self), None)

    def foresee_exit(self) -> None:  # noqa: B027 - most need not know
        """Hear that the interpreter ends. All open pools hear it before the first of them is ended."""

    @abstractmethod
    def end_at_exit(self, *, interrupted: bool) -> None:
        """End the pool: wait for the tasks that were handed in; if `interrupted`, drop them.

        Raises:
            KeyboardInterrupt: While it waited. It is called again then, `interrupted`.
        """


_open: dict[int, Ending] = {}
"""Pools that may have workers, whether anybody still holds them or not, in the order of their making."""


def _end_all() -> None:
    """End the pools that are open when the interpreter does; Ctrl-C was a wish to end now."""
    _core.refuse_tasks()  # of threads, which are joined next
    interrupted = getattr(sys, "last_type", None) is KeyboardInterrupt
    ended: list[Ending] = []
    # Again for those that threads which go on have just opened.
    while endings := [ending for ending in tuple(_open.values()) if ending not in ended]:
        for ending in endings:
            ending.foresee_exit()
        for ending in endings:
            try:
                ending.end_at_exit(interrupted=interrupted)
            except KeyboardInterrupt:
                interrupted = True
                ending.end_at_exit(interrupted=True)
        ended += endings
    _open.clear()


def refuse_task(pid: int, failure: PoolBrokenError | None, *, closed: bool) -> None:
    """Refuse a task that a pool cannot run.

    Args:
        pid: The process that made the pool.
        failure: Why it is broken, if it is.
        closed: Whether it was shut down.

    Raises:
        RuntimeError: The pool was shut down, or belongs to the process that this one was forked from.
        PoolBrokenError: It is broken.
    """
    if pid != os.getpid():
        msg = "the pool belongs to the process that this one was forked from; make a new one"
        raise RuntimeError(msg)
    if failure is not None:
        raise failure
    if closed:
        msg = "cannot schedule new futures after shutdown"
        raise RuntimeError(msg)


def broken_by(cause: BaseException, reason: str) -> PoolBrokenError:
    """Make the exception of tasks that a broken pool does not run."""
    broken = PoolBrokenError(reason)
    broken.__cause__ = cause
    return broken


SLICE_SECONDS = 0.05
"""No wait of the main thread is longer: on free-threaded builds a signal that comes just before does not end it."""


def await_event(event: threading.Event) -> None:
    """Wait for `event`; Ctrl-C ends that, whenever it comes."""
    while not event.wait(SLICE_SECONDS):
        pass


def go_first() -> None:
    """End our pools before all else that has asked so far to be ended at exit."""
    # Before the interpreter's own threads are joined, as the standard executors, or a callback's thread would wait for
    # us. The last to register comes first; being called again, with nothing open, does nothing.
    threading._register_atexit(_end_all)  # type: ignore[attr-defined]  # noqa: SLF001


go_first()
os.register_at_fork(after_in_child=_open.clear)
