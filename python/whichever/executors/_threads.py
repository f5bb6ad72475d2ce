"""The threads engine: daemon threads that take batches from one queue.

They are daemons so that a task that never ends keeps neither Ctrl-C nor the interpreter's exit waiting
(``concurrent.futures`` joins its threads at exit). The caller is woken once for many tasks, not for each:
on a build with a GIL every wake would take it from a task.
"""

from __future__ import annotations

import contextlib
import contextvars
import ctypes
import threading
import time
from enum import Enum
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from whichever.errors import EngineError, EngineUnavailableError
from whichever.executors._contract import Engine, Outcome
from whichever.executors._coroutines import refuse_coroutine_function
from whichever.executors._feed import WAKE_SECONDS, Feed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

_AHEAD_PER_WORKER = 32  # batches queued for each worker before the caller is woken to queue more
_JOIN_SECONDS = 0.2  # for abandoned threads to notice; a thread in a native call cannot


class _AbandonedError(BaseException):
    """Raised inside the task of a thread that the engine has given up."""


class ThreadsEngine(Engine):
    """Threads of this process. Context variables of the caller reach the tasks, each in a copy of its own."""

    name = "threads"

    def __init__(self, workers: int, *, modules: Sequence[str] = ()) -> None:
        super().__init__(workers, modules=modules)
        self._threads: list[threading.Thread] = []
        self._jobs: SimpleQueue[_Run | None] = SimpleQueue()

    @classmethod
    def unavailable(cls, fn: Callable[..., Any] | None = None) -> str | None:
        """Refuse coroutine functions only."""
        return refuse_coroutine_function(fn, cls.name)

    def open(self) -> None:
        """Start the threads; the system gives each its stack before this returns."""
        for number in range(self.workers - len(self._threads)):
            thread = threading.Thread(
                target=_serve, args=(self._jobs,), name=f"whichever-threads-{number}", daemon=True
            )
            thread.start()
            self._threads.append(thread)

    def run(
        self,
        fn: Callable[[Any], Any],
        items: Iterable[Any],
        *,
        chunksize: int = 1,
        deadline: float | None = None,
    ) -> list[Outcome]:
        """Run the tasks while the caller queues items, a bounded number ahead."""
        if not self._threads:
            msg = "the threads engine is closed; open a new one"
            raise EngineError(msg)
        if reason := self.unavailable(fn):
            raise EngineUnavailableError(reason)
        feed = Feed(items, chunksize, deadline)
        run = _Run(fn, deadline)
        for _ in self._threads:
            self._jobs.put(run)
        try:
            run.queue_all(feed, self.workers)
        except BaseException:
            run.abandoned = True
            self.close(kill=True)
            raise
        feed.finish()
        return sorted(run.outcomes, key=lambda outcome: outcome.index)

    def close(self, *, kill: bool = False) -> None:
        """End the threads; with `kill`, interrupt tasks in Python code and leave native calls behind."""
        threads, self._threads = self._threads, []
        if kill:
            _interrupt(threads)  # before they are told to end: past that, nothing would catch it
        for _ in threads:
            self._jobs.put(None)
        self._jobs = SimpleQueue()
        end = time.monotonic() + _JOIN_SECONDS
        for thread in threads:
            thread.join(max(end - time.monotonic(), 0.0) if kill else None)


class _Marker(Enum):
    MORE = "wake the caller to queue more"
    END = "this thread is done with the run"


class _Run:
    """The tasks of one run in flight; ends with one END marker for each thread."""

    def __init__(self, fn: Callable[[Any], Any], deadline: float | None) -> None:
        self.abandoned = False
        self.outcomes: list[Outcome] = []
        self._fn = fn
        self._deadline = deadline
        self._context = contextvars.copy_context()
        self._batches: SimpleQueue[list[tuple[int, Any]] | _Marker] = SimpleQueue()
        self._met: SimpleQueue[_Marker] = SimpleQueue()  # each marker, once a thread has met it
        self._unmet = 0

    def queue_all(self, feed: Feed, workers: int) -> None:
        """Queue the items, at most two helpings ahead; returns when every task is done."""
        helping = _AHEAD_PER_WORKER * workers
        more = self._queue(feed, helping) and self._queue(feed, helping)
        while more:
            self._await_marker()
            more = self._queue(feed, helping)
        for _ in range(workers):
            self._put_marker(_Marker.END)
        while self._unmet:
            self._await_marker()

    def _queue(self, feed: Feed, helping: int) -> bool:
        """Queue up to `helping` batches and a marker behind them; False when the feed has ended."""
        for _ in range(helping):
            batch = feed.take()
            if not batch:
                return False
            self._batches.put(batch)
        self._put_marker(_Marker.MORE)
        return True

    def _put_marker(self, marker: _Marker) -> None:
        self._batches.put(marker)
        self._unmet += 1

    def _await_marker(self) -> None:
        while True:
            with contextlib.suppress(Empty):
                self._met.get(timeout=WAKE_SECONDS)
                break
        self._unmet -= 1

    def drain(self) -> None:
        """Work, in a thread of the engine, up to an end marker."""
        while not self.abandoned:
            batch = self._batches.get()
            if not isinstance(batch, _Marker):
                self._work(batch)
                continue
            self._met.put(batch)
            if batch is _Marker.END:
                return

    def _work(self, batch: list[tuple[int, Any]]) -> None:
        for index, item in batch:
            if self.abandoned or (self._deadline is not None and time.monotonic() >= self._deadline):
                return
            try:
                outcome = Outcome(index, self._context.copy().run(self._fn, item))
            except _AbandonedError:
                raise
            except BaseException as error:  # noqa: BLE001 - SystemExit of a task ends the task, not the thread
                outcome = Outcome(index, error=error)
            self.outcomes.append(outcome)


def _serve(jobs: SimpleQueue[_Run | None]) -> None:
    """Live as a thread of the engine."""
    with contextlib.suppress(_AbandonedError):
        while (run := jobs.get()) is not None:
            run.drain()
            del run  # or the last run's outcomes would live until the next


def _interrupt(threads: list[threading.Thread]) -> None:
    for thread in threads:
        if thread.ident is not None and thread.is_alive():
            ctypes.pythonapi.PyThreadState_SetAsyncExc(
                ctypes.c_ulong(thread.ident), ctypes.py_object(_AbandonedError)
            )
