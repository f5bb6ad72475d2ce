"""What an auto pool decided, when and why; and where that is kept."""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from whichever._types import EngineName

_KEPT = 1000
"""Decisions that a pool remembers: the latest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One decision of an auto pool.

    Attributes:
        at: Seconds since the pool was made.
        function: Qualified name of the tasks' function.
        engine: The engine that tasks go to from now on.
        workers: How many workers it has; for ``threads`` that wait, how many it may grow to.
        done: Tasks of this map that had been handed out before.
        reason: Why, in words.
    """

    at: float
    function: str
    engine: EngineName
    workers: int
    done: int
    reason: str

    def __str__(self) -> str:
        size = "" if self.engine == "serial" else f" x{self.workers}"
        return (
            f"{self.at:8.3f} s  {self.function}: {self.engine}{size} after {self.done} tasks: {self.reason}"
        )


class History:
    """The decisions of one pool.

    Args:
        verbose: Whether to print each to standard error.
    """

    def __init__(self, *, verbose: bool) -> None:
        self._begin = time.perf_counter()
        self._verbose = verbose
        self._decisions: deque[Decision] = deque(maxlen=_KEPT)
        self._lock = threading.Lock()
        self.count = 0

    def note(
        self, fn: Callable[..., Any], engine: EngineName, workers: int, done: int, reason: str
    ) -> Decision:
        """Keep a decision."""
        decision = Decision(
            at=time.perf_counter() - self._begin,
            function=name_of(fn),
            engine=engine,
            workers=workers,
            done=done,
            reason=reason,
        )
        with self._lock:
            self._decisions.append(decision)
            self.count += 1
        if self._verbose:
            print(f"whichever: {decision}", file=sys.stderr, flush=True)  # noqa: T201 - asked for
        return decision

    def all(self) -> tuple[Decision, ...]:
        """Return what is kept, the oldest first."""
        with self._lock:
            return tuple(self._decisions)


def name_of(fn: Callable[..., Any]) -> str:
    """Name a function for readers."""
    inner = getattr(fn, "func", fn)  # of a partial
    name = getattr(inner, "__qualname__", None) or type(inner).__qualname__
    return str(name)
