"""The pools of one auto pool: one for each engine and number of workers, opened when first needed."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from whichever import executors
from whichever.executors import (
    ThreadPool,
)  # at once: when tasks wait, the first ones must not wait for an import

if TYPE_CHECKING:
    from whichever._types import EngineName
    from whichever.executors._face import PoolFace

MOST_THREADS = 128
"""To which threads grow while all of them wait."""
_GROWING = 0
_PROCESS_CLOCK = 2
"""Of the kernel's per-process clocks: CPU time by the scheduler's own count (`CPUCLOCK_SCHED`)."""


class Stable:
    """See the module. Any thread may use it.

    Args:
        most: Most workers that any pool may have; None for no limit of the user's.
        cores: Cores that they may keep busy.
    """

    def __init__(self, most: int | None, cores: int) -> None:
        self.most = most
        self._cores = cores
        self._pools: dict[tuple[EngineName, int], PoolFace] = {}
        self._lock = threading.Lock()
        self._closed = False

    @property
    def most_threads(self) -> int:
        """To how many threads tasks that wait may grow."""
        return MOST_THREADS if self.most is None else self.most

    def pool(self, engine: EngineName, workers: int) -> PoolFace:
        """Return the pool of an engine with so many workers.

        Raises:
            RuntimeError: The auto pool was shut down.
        """
        with self._lock:
            self._require_open()
            found = self._pools.get((engine, workers))
            if found is None:
                found = self._pools[engine, workers] = _make(engine, workers)
            return found

    def threads(self) -> ThreadPool:
        """Return the thread pool that grows: see `grow`."""
        with self._lock:
            self._require_open()
            found = self.growing()
            if found is None:
                found = ThreadPool(min(self._cores + 1, self.most_threads), "whichever-auto")
                found.govern(self.most_threads)
                self._pools["threads", _GROWING] = found
            return found

    def _require_open(self) -> None:
        if self._closed:
            msg = "cannot schedule new futures after shutdown"
            raise RuntimeError(msg)

    def growing(self) -> ThreadPool | None:
        """Return the thread pool that grows, if there is one, closed or not."""
        found = self._pools.get(("threads", _GROWING))
        return found if isinstance(found, ThreadPool) else None

    def open_engines(self) -> set[EngineName]:
        """Name the engines that have a pool already."""
        with self._lock:
            return {engine for engine, _ in self._pools}

    def is_closed(self) -> bool:
        """Say whether it was shut down."""
        return self._closed

    def all(self) -> list[tuple[EngineName, PoolFace]]:
        """Return engines and pools."""
        with self._lock:
            return [(engine, pool) for (engine, _), pool in self._pools.items()]

    def close(self, *, wait: bool, cancel_futures: bool) -> None:
        """Shut all pools down."""
        with self._lock:
            self._closed = True
        pools = self.all()
        for _, pool in pools:
            pool.shutdown(wait=False, cancel_futures=cancel_futures)
        if wait:
            for _, pool in pools:
                pool.shutdown(wait=True)

    def end_now(self) -> None:
        """End all pools without waiting for tasks."""
        with self._lock:
            self._closed = True
        for _, pool in self.all():
            pool._end_now()  # noqa: SLF001 - of our own pools


def _make(engine: EngineName, workers: int) -> PoolFace:
    # The others are loaded when they are first made: a program whose tasks wait loads no processes.
    if engine == "threads":
        return ThreadPool(workers, "whichever-auto")
    if engine == "processes":
        return executors.ProcessPool(workers)
    if engine == "interpreters":
        return executors.InterpreterPool(workers)
    return executors.AsyncPool(workers)


def cpu_seconds(pool: Any) -> float:
    """Return the CPU time that a pool's workers have taken, as far as it can be told: this process's, or their own."""
    pids = getattr(pool, "worker_pids", None)
    return time.process_time() if pids is None else sum(map(_cpu_of, pids()))


def _cpu_of(pid: int) -> float:
    try:
        return time.clock_gettime(~pid << 3 | _PROCESS_CLOCK)
    except OSError:
        return 0.0  # it has ended


def ended_tasks(pool: Any) -> int:
    """Return how many tasks have ended in a pool."""
    counts = pool.statistics()
    return int(counts.returned + counts.raised)
