"""The threads engine: a thread pool of its own, whose tasks can be given up.

A task that never ends keeps neither Ctrl-C nor the interpreter's exit waiting.
"""

from __future__ import annotations

import ctypes
import threading
import time
from enum import Enum
from typing import TYPE_CHECKING, Any

from whichever.errors import EngineError, EngineUnavailableError
from whichever.executors._contract import Engine, Outcome
from whichever.executors._coroutines import refuse_coroutine_function
from whichever.executors._feed import Feed
from whichever.executors._thread_pool import ThreadPool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

_LEAVE_SECONDS = 0.2  # for abandoned threads to notice; a thread in a native call cannot


class ThreadsEngine(Engine):
    """Threads of a `ThreadPool`. Context variables of the caller reach the tasks, each in a copy of its own.

    `chunksize` has no say: nothing is sent.
    """

    name = "threads"

    def __init__(self, workers: int, *, modules: Sequence[str] = ()) -> None:
        super().__init__(workers, modules=modules)
        self._pool: _OwnPool | None = None

    @classmethod
    def unavailable(cls, fn: Callable[..., Any] | None = None) -> str | None:
        """Refuse coroutine functions only."""
        return refuse_coroutine_function(fn, cls.name)

    def open(self) -> None:
        """Start the threads; the system gives each its stack before this returns."""
        if self._pool is not None:
            return
        self._pool = _OwnPool(self.workers)
        try:
            self._pool.start_all()
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
        """Run the tasks while the caller takes items and outcomes, a bounded number ahead."""
        if self._pool is None:
            msg = "the threads engine is closed; open a new one"
            raise EngineError(msg)
        if reason := self.unavailable(fn):
            raise EngineUnavailableError(reason)
        feed = Feed(items, min(chunksize, 1), deadline)  # one by one: 0 is refused
        errand = _Errand(fn, deadline)
        try:
            outcomes = [
                Outcome(index, *ended)
                for index, ended in enumerate(self._pool.run_all(errand, iter(feed)))
                if not isinstance(ended, _Late)
            ]
        except BaseException:
            errand.abandon()
            self.close(kill=True)
            raise
        feed.finish()
        return outcomes

    def close(self, *, kill: bool = False) -> None:
        """End the threads; with `kill`, leave behind those that do not end at once."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.end(kill=kill)


class _OwnPool(ThreadPool):
    """A pool whose threads the interpreter's end does not wait for, and that can be seen to start and to end."""

    def __init__(self, workers: int) -> None:
        super().__init__(workers, "whichever-threads", daemon=True)

    def start_all(self) -> None:
        """Have all threads start; each could run a task when this returns."""
        everybody = threading.Barrier(self._max_workers)
        try:
            for came in [self.submit(everybody.wait) for _ in range(self._max_workers)]:
                came.result()
        except BaseException:
            everybody.abort()
            raise

    def run_all(
        self, errand: _Errand, items: Iterator[Any]
    ) -> Iterator[tuple[Any, BaseException | None] | _Late]:
        """Run ``errand(item)`` for all items, taken as they can start; give what it gives, in their order."""
        return self.map_items(errand, items, star=False, eager=False, ahead=0, ordered=True, timeout=None)

    def end(self, *, kill: bool) -> None:
        """Let the threads go and wait for them; with `kill`, no longer than they take when they are not busy."""
        if not kill:
            self.shutdown()
            return
        self._end_now()
        self._host.join(_LEAVE_SECONDS)
        self._host.forget()  # they are daemons


class _Late(Enum):
    """A task that was to start no more."""

    LATE = "late"


class _AbandonedError(BaseException):
    """Raised inside tasks that the engine gives up."""


class _Errand:
    """What a thread does for an item: run the task, unless it is late, and bring what came of it.

    It knows who is inside a task, so that those can be interrupted, and nobody else.
    """

    def __init__(self, fn: Callable[[Any], Any], deadline: float | None) -> None:
        self._fn = fn
        self._deadline = deadline
        self._inside: set[int] = set()
        self._is_abandoned = self._is_told = False

    def __call__(self, item: object) -> tuple[Any, BaseException | None] | _Late:
        if self._deadline is not None and time.monotonic() >= self._deadline:
            return _Late.LATE
        thread = threading.get_ident()
        self._inside.add(thread)
        try:
            return self._fn(item), None
        except BaseException as error:  # noqa: BLE001 - SystemExit of a task ends the task, not the thread
            trace = error.__traceback__
            error.__traceback__ = trace and trace.tb_next  # without this frame, which holds the item
            return None, error
        finally:
            self._inside.discard(thread)
            while self._is_abandoned and not self._is_told:
                time.sleep(0)  # an interruption that is on its way is to arrive here, and not in the pool

    def abandon(self) -> None:
        """Interrupt the tasks that run; what does not run Python code takes no notice until it does."""
        self._is_abandoned = True
        try:
            for thread in tuple(self._inside):
                ctypes.pythonapi.PyThreadState_SetAsyncExc(
                    ctypes.c_ulong(thread), ctypes.py_object(_AbandonedError)
                )
        finally:
            self._is_told = True
