"""The processes engine: a process pool that has nothing in common with other pools, run by the thread that waits.

No ``__main__`` guard is needed, the caller is never forked, multiprocessing's global state is not touched.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from whichever import _core
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
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from whichever.executors._host import Staff

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
        try:
            outcomes = list(_outcomes(pool.run_all(errand(orders), iter(feed))))
        except EngineUnavailableError:
            raise  # the function's fault: the workers are as good as before
        except BaseException:
            self.close(kill=True)
            raise
        feed.finish()
        return outcomes

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
        self._dismissal = _core.Finalizer(self._crew.close)

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

    def run_all(
        self, fn: Callable[[Any], Any], items: Iterator[Any]
    ) -> Iterator[tuple[Any, BaseException | None]]:
        """Run ``fn(item)`` for all items, taken as they can start; give pairs of value and error in their order."""
        pairs: Iterator[tuple[Any, BaseException | None]] = self._core.map_items(
            fn,
            items,
            star=False,
            eager=False,
            ahead=0,
            chunksize=1,
            ordered=True,
            timeout=None,
            rules=self._rules,
            outcomes=True,
        )
        return pairs

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
            self._dismissal.finish()


def _outcomes(pairs: Iterable[tuple[Any, BaseException | None]]) -> Iterator[Outcome]:
    """Make outcomes of what the pool gives in the items' order; tasks that began too late have none.

    Raises:
        PoolBrokenError: Workers ended and cannot be replaced.
        EngineUnavailableError: No worker could load the function.
    """
    for index, (value, error) in enumerate(pairs):
        if isinstance(error, PoolBrokenError):
            raise error
        if isinstance(value, Unloadable):
            raise _refusal(value)
        if error is not None:
            _drop_frames(error)
        if not isinstance(value, Late):
            yield Outcome(index, value, error)


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
