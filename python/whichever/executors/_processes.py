"""The processes engine: a process pool that has nothing in common with other pools, run by the thread that waits.

No ``__main__`` guard is needed, the caller is never forked, multiprocessing's global state is not touched.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any

from whichever.errors import EngineError, EngineUnavailableError, PoolBrokenError
from whichever.executors._boot import search_path
from whichever.executors._contract import Engine, Outcome
from whichever.executors._crew import Crew, refuse_recursion
from whichever.executors._feed import Feed
from whichever.executors._host import Host
from whichever.executors._imports import running_modules
from whichever.executors._letter import refuse_function, write_letter
from whichever.executors._pool import ProcessPool
from whichever.executors._remote import cargo
from whichever.executors._remote.errand import Late, Orders, Unloadable, errand

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from whichever.executors._future import Future
    from whichever.executors._host import Staff

_AHEAD_SECONDS = 0.02  # of work are handed in ahead of the results, by the run's pace
_AHEAD_LEAST = 2  # tasks for each worker, whatever the pace: the one it runs and the next
_AHEAD_MOST = 4096  # tasks: their items and results take memory
_LOOK_SECONDS = 0.002  # without the oldest task's result; then results that came out of turn are looked for
_READY_TICK_SECONDS = 0.001


class ProcessesEngine(Engine):
    """Worker processes of a `ProcessPool`. They outlive Ctrl-C (the caller decides) and end with the caller.

    Each engine has a crew of its own, which keeps nothing ready and leaves with it: to open it takes as long as a
    program's first pool does, whatever ran before. `chunksize` has no say; the pool finds its own. A worker that dies
    costs the task it ran, whose outcome has a `WorkerDied`, and is replaced.
    """

    name = "processes"

    def __init__(self, workers: int, *, modules: Sequence[str] = ()) -> None:
        super().__init__(workers, modules=modules)
        self._pool: _OwnPool | None = None

    @classmethod
    def unavailable(cls, fn: Callable[..., Any] | None = None) -> str | None:
        """Refuse systems without fork, coroutine functions, and what does not pickle."""
        if not hasattr(os, "fork") or not sys.executable:
            return "this platform cannot fork worker processes from a template"
        return None if fn is None else refuse_function(fn, cls.name, cargo.dump_whole)

    def open(self) -> None:
        """Start template and workers; each has imported `modules` (those that can be) when this returns."""
        if self._pool is not None:
            return
        if reason := self.unavailable():
            raise EngineUnavailableError(reason)
        refuse_recursion()
        try:
            self._pool = _OwnPool(self.workers, self.modules)
            self._pool.await_workers()
        except BaseException:
            self.close(kill=True)
            raise

    def run(
        self,
        fn: Callable[[Any], Any],
        items: Iterable[Any],
        *,
        chunksize: int = 1,
        deadline: float | None = None,
    ) -> list[Outcome]:
        """Run the tasks; the function is pickled once, an item when it is about to start."""
        pool = self._pool
        if pool is None:
            msg = f"the {self.name} engine is closed; open a new one"
            raise EngineError(msg)
        by_value = running_modules()
        letter = write_letter(fn, self.name, cargo.dump_whole, by_value)
        feed = Feed(items, min(chunksize, 1), deadline)  # one by one: the pool batches, and 0 is refused
        orders = Orders(letter, by_value, deadline, _folder(), search_path())
        run = _Run(pool, errand(orders), feed, self.workers)
        try:
            run.carry_out()
        except EngineUnavailableError:
            raise  # the function's fault: the workers are as good as before
        except BaseException:
            self.close(kill=True)
            raise
        feed.finish()
        return run.take_outcomes()

    def close(self, *, kill: bool = False) -> None:
        """Let the workers go, or kill them, and wait for the template that they came from."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.end(kill=kill)


class _OwnPool(ProcessPool):
    """A pool that shares neither templates nor spares with others."""

    def __init__(self, workers: int, modules: Sequence[str]) -> None:
        self._crew = Crew(spares=0)
        self._preloaded = modules
        super().__init__(workers)
        # Of a pool that is dropped without being ended.
        self._dismissal = weakref.finalize(self, self._crew.close)

    def _make_host(self, staff: Staff) -> Host:
        return Host(staff, self._crew, self._preloaded)

    def await_workers(self) -> None:
        """Start all workers and wait until each could run a task.

        Raises:
            EngineError: One could not be started, or ended before it was ready.
        """
        self.warm_up()
        while len(self.worker_pids()) < self._max_workers:
            counts = self.statistics()
            if counts.workers_died or counts.workers_started < self._max_workers:
                self._explain_start()
            self._core.wait_gone(_READY_TICK_SECONDS)

    def _explain_start(self) -> None:
        """Raise why workers do not start: a task's failure says it, if none of them does."""
        started = self.statistics().workers_started
        error = self.submit(int).exception()
        reason = str(error) if error is not None else f"only {started} of {self._max_workers} workers started"
        msg = f"the processes engine could not start its workers: {reason}"
        raise EngineError(msg) from error

    def end(self, *, kill: bool) -> None:
        """Let the workers go, or kill them; nothing of them is left when this returns."""
        try:
            if kill:
                self.kill_workers()
            else:
                self.shutdown()
        finally:
            self._dismissal()


class _Run:
    """The tasks of one run: handed in a little ahead of their results."""

    def __init__(self, pool: ProcessPool, fn: Callable[[Any], Any], feed: Feed, workers: int) -> None:
        self._pool, self._fn, self._feed = pool, fn, feed
        self._least = _AHEAD_LEAST * workers
        self._flights: deque[tuple[int, Future[Any]]] = deque()
        self._began = time.monotonic()
        self._outcomes: list[Outcome] = []

    def carry_out(self) -> None:
        """Run every task that the feed gives."""
        while self._supply():
            self._await_oldest()
            while self._flights and self._flights[0][1].done():
                self._land(*self._flights.popleft())

    def take_outcomes(self) -> list[Outcome]:
        """Give the outcomes away, in the items' order."""
        outcomes, self._outcomes = self._outcomes, []
        return sorted(outcomes, key=lambda outcome: outcome.index)

    def _supply(self) -> bool:
        """Hand in tasks up to the room there is; say whether any is under way."""
        room = self._room()
        while len(self._flights) < room and (batch := self._feed.take()):
            for index, item in batch:
                self._flights.append((index, self._pool.submit(self._fn, item)))
        return bool(self._flights)

    def _room(self) -> int:
        pace = len(self._outcomes) / max(time.monotonic() - self._began, 1e-6)
        return max(self._least, min(int(pace * _AHEAD_SECONDS), _AHEAD_MOST))

    def _await_oldest(self) -> None:
        """Wait for the oldest task, but take others that end before: they hold places that new tasks need."""
        while not self._flights[0][1].done():
            with contextlib.suppress(TimeoutError):
                self._flights[0][1].exception(_LOOK_SECONDS)
                return
            if self._land_out_of_turn():
                return

    def _land_out_of_turn(self) -> bool:
        """Take results that are there; a task that ends meanwhile is left for the next look."""
        waiting: deque[tuple[int, Future[Any]]] = deque()
        before = len(self._flights)
        for _ in range(before):
            flight = self._flights.popleft()
            if flight[1].done():
                self._land(*flight)
            else:
                waiting.append(flight)
        self._flights = waiting
        return len(waiting) < before

    def _land(self, index: int, future: Future[Any]) -> None:
        value, error = None, future.exception()
        if isinstance(error, PoolBrokenError):
            raise error
        if error is not None:
            _drop_frames(error)
        elif isinstance(value := future.result(), Unloadable):
            raise _refusal(value)
        if not isinstance(value, Late):
            self._outcomes.append(Outcome(index, value, error))


def _drop_frames(error: BaseException) -> None:
    """Drop tracebacks of this side: only what did not pickle or load has one, and it holds the pool for ever.

    Its frames lead back to the future, whose native half the garbage collector does not see through.
    """
    for each in (error, error.__cause__, error.__context__):
        if each is not None:
            each.__traceback__ = None


def _refusal(unloadable: Unloadable) -> EngineUnavailableError:
    reason = cargo.load_error(unloadable.error)
    refusal = EngineUnavailableError(
        f"a worker could not load the function: {type(reason).__name__}: {reason}"
    )
    refusal.__cause__ = reason
    return refusal


def _folder() -> str:
    try:
        return os.getcwd()  # noqa: PTH109 - as text, it is sent
    except OSError:
        return ""
