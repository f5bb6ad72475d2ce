"""One leg of a map: items that one engine runs, until there are none or another engine takes over."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any

from whichever import _core
from whichever.advisor._neighbours import Neighbours
from whichever.auto._stable import cpu_seconds, ended_tasks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from whichever._types import EngineName

_WINDOW_SECONDS = 0.05
_WINDOW_TASKS = 4
"""Tasks for each worker that must end in a window, unless it gets very long."""
_LONG_WINDOW_SECONDS = 1.0
_ENDLESS_SECONDS = 0.15
_ENDLESS_TASKS = 4.0
"""For so long, and for the time of so many tasks, none of threads that compute has ended when something is wrong."""
BUSY_CORES = 0.6
"""Cores from which on a program computes."""
_LITTLE_CPU = 0.3
"""Cores: of tasks that use no more in threads, no other engine runs more at once."""
_WORTH_RECONSIDERING_SECONDS = 0.8
"""Of work that threads have not begun: they end what they have, tasks are metered, processes may have to start."""
_BLOCK_SECONDS = 0.005
_MOST_IN_BLOCK = 4096


class Leg:
    """See the module.

    Args:
        engine: The engine.
        workers: Its workers.
        pool: Its pool; None for a plain loop.
        trial_seconds: For how long it is a trial, which tells whether this engine is faster.
        metered: Seconds and CPU seconds of a task, as it was metered; None where none was.
    """

    def __init__(
        self,
        engine: EngineName,
        workers: int,
        pool: Any = None,
        *,
        trial_seconds: float = 0.0,
        metered: tuple[float, float] | None = None,
    ) -> None:
        self.engine = engine
        self.workers = workers
        self.pool = pool
        self.trial_seconds = trial_seconds
        self.results: Iterator[Any] = iter(())
        self.rest: Iterator[Any] | None = None
        self.is_over = False
        self.is_doubtful = False
        # The CPU time of threads is that of this whole process, of who reads the results too.
        self.pilot = _core.Pilot(None if metered is None else metered[1], is_shared=engine == "threads")
        self._wall = 0.0 if metered is None else metered[0]
        self.recent: deque[Any] = deque()  # handed in to threads, but for as many as results were read
        self.given = 0
        self.at_work = 0  # threads that might work when this was last looked at; 0 as long as it was not
        self._block = 1
        self._block_at = 0.0
        self._window: tuple[float, int, float] | None = None
        self._begun: tuple[float, int] | None = None
        self._neighbours = Neighbours()

    def next_block(self) -> int:
        """Return how many items to hand in until the next look: so many as keep that rare, and not too rare."""
        now = time.perf_counter()
        taken, self._block_at = now - self._block_at, now
        if taken < _BLOCK_SECONDS:
            self._block = min(2 * self._block, _MOST_IN_BLOCK)
        elif taken > 4 * _BLOCK_SECONDS:
            self._block = max(self._block // 2, 1)
        return self._block

    def hand_in(self, items: list[Any]) -> None:
        """Remember what goes to the engine."""
        self.given += len(items)
        if self.engine == "threads":
            self.recent.extend(items)

    def window(self) -> tuple[int, float, float] | None:
        """Return tasks ended, seconds and CPU seconds since the last window, if it is time for one.

        No task has ended in one of threads that all compute instead, each in its turn.
        """
        now = time.perf_counter()
        if self._window is None:
            ended = ended_tasks(self.pool)
            if ended > 0 or self.engine == "threads":  # else its workers may still be starting
                self._window = now, ended, cpu_seconds(self.pool)
            return None
        at, ended, cpu = self._window
        if now - at < _WINDOW_SECONDS:
            return None
        ended_now = ended_tasks(self.pool)
        few = ended_now - ended < _WINDOW_TASKS * min(self.workers, 8)
        passed = now - at
        if ended_now > ended:
            if few and passed < _LONG_WINDOW_SECONDS:
                return None
        elif self.engine != "threads" or passed < max(_ENDLESS_SECONDS, _ENDLESS_TASKS * self._wall):
            return None
        cpu_now = cpu_seconds(self.pool)
        if ended_now == ended and cpu_now - cpu < BUSY_CORES * passed:
            return None
        self._window = now, ended_now, cpu_now
        if self._begun is None:  # in the first window workers were still getting warm
            self._begun = now, ended_now
        return ended_now - ended, now - at, cpu_now - cpu

    def waiting(self) -> int:
        """Return how many of its tasks have not begun and can be taken back."""
        return int(self.pool.statistics().waiting) if self.engine == "threads" else 0

    def found_out(self) -> str:
        """Say what threads have shown since this was last asked about how many are of use, if anything."""
        before, now = self.at_work, int(self.pool.statistics().workers_most)
        self.at_work = now
        if 0 < now < before:
            self.workers = now
            return f"tasks wait for one another: as many end with fewer threads than {before}"
        if before and self.workers < now:
            self.workers = now
            return f"more threads than {before} again: tasks wait"
        return ""

    def may_gain(self, left: int, window: tuple[int, float, float]) -> bool:
        """Say whether another engine may gain what it takes to ask, with so many items left that were not handed in."""
        if self.engine != "threads":
            return True
        tasks, seconds, cpu = window
        # Of tasks that only wait, it is the pool's to find out how many do at a time.
        is_long = (left + self.waiting()) * seconds / tasks > _WORTH_RECONSIDERING_SECONDS
        return cpu >= _LITTLE_CPU * seconds and is_long

    def others(self) -> float:
        """Return the cores that other programs took since this was last asked."""
        busy, self._neighbours = self._neighbours.busy(), Neighbours()
        return busy

    def so_far(self) -> tuple[int, float]:
        """Return tasks ended and seconds since the leg's first window."""
        if self._begun is None:
            return 0, 0.0
        at, ended = self._begun
        return ended_tasks(self.pool) - ended, time.perf_counter() - at

    def recall(self) -> list[Any]:
        """Take back what has been handed in and has not begun; the leg ends with what has."""
        self.is_over = True
        recall = getattr(self.results, "recall", None)
        if recall is None or self.engine != "threads":
            return []
        lost = self.given - recall()
        return list(self.recent)[-lost:] if lost > 0 else []
