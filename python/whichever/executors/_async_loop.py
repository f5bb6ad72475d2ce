"""The event loop of an `AsyncPool` in its thread: who runs, who waits, how it ends.

Tasks wait in one queue under one lock. Whoever hands in rings the loop only if a place is free and nobody has rung yet,
so that thousands of tasks cost one wake; where no place is free, a task that ends takes the next one along.
"""

from __future__ import annotations

import asyncio
import concurrent.futures.thread  # noqa: F401 - before `go_first`
import contextlib
import logging
import os
import threading
from collections import deque
from concurrent.futures import InvalidStateError
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from whichever._types import AsyncPoolStatistics
from whichever.errors import TaskTimeoutError
from whichever.executors._exit import Ending, await_event, broken_by, go_first, refuse_task
from whichever.executors._future import Future
from whichever.executors._remote.sharers import enter_thread

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context

    from whichever.errors import PoolBrokenError

T = TypeVar("T")

_CLEAN_UP_SECONDS = (
    0.15  # for cancelled coroutines to end; then they are left behind, on a thread that delays nothing
)


@dataclass(frozen=True, slots=True)
class Setup:
    """What a pool was made with, see `AsyncPool`; and how many coroutines and workers around share the cores."""

    limit: int
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None
    initializer: Callable[..., object] | None
    initargs: tuple[Any, ...]
    daemon: bool
    name: str
    sharers: int


class Job:
    """A task from its submit to its end. `future` and `task` are set by the loop's `LoopThread`."""

    __slots__ = ("args", "begun", "context", "end", "fn", "future", "kwargs", "loop", "task", "timeout")

    def __init__(
        self, fn: Callable[..., Any], args: Any, kwargs: Any, context: Context, timeout: float | None
    ) -> None:
        self.fn, self.args, self.kwargs = fn, args, kwargs
        self.context, self.timeout = context, timeout
        self.begun = False
        self.end = "cancelled"  # until something else becomes of it: a field of `AsyncPoolStatistics`
        self.task: asyncio.Task[None] | None = None
        self.future: AsyncFuture[Any]
        self.loop: LoopThread


class AsyncFuture(Future[T]):
    """The future of a coroutine: `cancel` reaches it while it runs."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        self._job: Job | None = job

    def cancel(self) -> bool:
        """Cancel the task, running or not; a coroutine that runs may clean up. False when it has ended already."""
        if self.cancelled():
            return True  # another cancellation would disturb the clean-up
        job = self._job
        if not super().cancel():
            return False
        if job is not None and job.task is not None:
            job.loop.cancel(job.task)
        return True

    def running(self) -> bool:
        """Say whether the coroutine has begun and not ended."""
        job = self._job
        return job is not None and job.begun and not self.done()

    def result(self, timeout: float | None = None) -> T:
        """Return what the coroutine returned, or raise what it raised; wait for it first."""
        try:
            self._refuse_wait()
            result: T = super().result(timeout)
            return result
        finally:
            del self  # an error's traceback holds this frame

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return what the coroutine raised, or None; wait for its end first."""
        self._refuse_wait()
        return super().exception(timeout)

    def _refuse_wait(self) -> None:
        job = self._job
        if job is not None and not self.done():
            job.loop.refuse_wait()


class LoopThread(Ending):
    """An event loop, its thread, and the tasks of both. The pool's part that outlives whoever holds the pool."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._pid = os.getpid()
        self._lock = threading.Lock()  # of the next eight
        self._submitted = 0
        self._ended = {"returned": 0, "raised": 0, "cancelled": 0, "timed_out": 0}
        self._queue: deque[Job] = deque()
        self._running: set[Job] = set()
        self._free = setup.limit
        self._rung = False
        self._closed = False
        self._failure: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None  # while it takes tasks
        self._finished: asyncio.Future[None] | None = None
        self._thread: threading.Thread | None = None
        self._over = threading.Event()

    # From any thread

    def submit(self, job: Job) -> AsyncFuture[Any]:
        """Take in a task.

        Raises:
            RuntimeError: The pool was shut down, or belongs to the process that this one was forked from.
            PoolBrokenError: The loop cannot run tasks any more.
        """
        job.loop = self
        future = job.future = AsyncFuture(job)
        self._refuse()  # before the lock, which a thread that the fork left behind may hold
        with self._lock:
            self._refuse()
            self._queue.append(job)
            self._submitted += 1
            rings = self._free > 0 and not self._rung
            self._rung |= rings
            if self._thread is None:
                self._start()
            loop = self._loop
        if rings and loop is not None:
            _call(loop, self._start_more)
        return future

    def _refuse(self) -> None:
        failure = None if self._failure is None else _broken(self._failure)
        refuse_task(self._pid, failure, closed=self._closed)

    def _start(self) -> None:
        self.keep()
        self._thread = threading.Thread(target=self._live, name=self._setup.name, daemon=True)
        self._thread.start()

    def refuse_wait(self) -> None:
        """Refuse to wait for a task where nobody would run it.

        Raises:
            RuntimeError: This is the loop's own thread, or a forked process.
        """
        if threading.current_thread() is self._thread:
            msg = "the pool's own loop would wait for itself; await asyncio.wrap_future(future) instead"
            raise RuntimeError(msg)
        if self._pid != os.getpid():
            msg = "the task belongs to the process that this one was forked from"
            raise RuntimeError(msg)

    def cancel(self, task: asyncio.Task[None]) -> None:
        """Cancel a coroutine that was started."""
        loop = self._loop
        if loop is not None:
            _call(loop, task.cancel)

    def close(self, *, cancel_futures: bool = False) -> None:
        """Take in nothing more; end when all is done."""
        if self._pid != os.getpid():
            return
        with self._lock:
            self._closed = True
            dropped = tuple(self._queue) if cancel_futures else ()
            if cancel_futures:
                self._queue.clear()
                self._ended["cancelled"] += len(dropped)
            loop = self._loop
        for job in dropped:
            _drop(job.future)
            job.future._job = None  # noqa: SLF001 - its other half
        if loop is not None:
            _call(loop, self._start_more)

    def statistics(self) -> AsyncPoolStatistics:
        """Return what was done and is held."""
        if self._pid != os.getpid():
            return AsyncPoolStatistics(0, 0, 0, 0, 0, 0, 0)  # whoever forked had the lock, perhaps
        with self._lock:
            return AsyncPoolStatistics(
                submitted=self._submitted,
                **self._ended,
                waiting=len(self._queue),
                running=len(self._running),
            )

    def join(self) -> None:
        """Wait for the end of the loop.

        Raises:
            KeyboardInterrupt: Ctrl-C; what ran is cancelled.
            RuntimeError: This is the loop's own thread.
        """
        if self._thread is None or self._pid != os.getpid():
            return
        if threading.current_thread() is self._thread:
            msg = "the pool's own loop would wait for itself; use shutdown(wait=False)"
            raise RuntimeError(msg)
        try:
            await_event(self._over)
        except KeyboardInterrupt:
            self.kill()
            raise

    def kill(self) -> None:
        """End now: what waits is dropped, what runs is cancelled and has a moment to clean up."""
        self.close(cancel_futures=True)
        if self._thread is None or self._pid != os.getpid():
            return
        with self._lock:
            running = tuple(self._running)
        for job in running:
            job.future.cancel()
        self._over.wait(_CLEAN_UP_SECONDS)
        self.forget()

    def end_at_exit(self, *, interrupted: bool) -> None:
        """Await or cancel what is left; see `Ending`."""
        if interrupted or self._setup.daemon:
            self.kill()
        else:
            self.close()
            self.join()

    # On the loop's thread

    def _live(self) -> None:
        enter_thread(self._setup.sharers)
        try:
            with asyncio.Runner(loop_factory=self._setup.loop_factory) as runner:
                try:
                    runner.run(self._run())
                except BaseException as error:  # noqa: BLE001 - before the runner cancels what is left
                    self._break(error)
        except BaseException as error:  # noqa: BLE001 - whatever it is, tasks must not wait for ever
            self._break(error)
        finally:
            # The loop goes here: what is asyncio's own at its end loses a Ctrl-C that the main thread meets in it.
            self._loop = self._finished = None
            self._over.set()
            self.forget()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        self._finished = loop.create_future()
        async with contextlib.AsyncExitStack() as stack:
            await self._prepare(stack)
            self._loop = loop
            self._start_more()
            await self._finished

    async def _prepare(self, stack: contextlib.AsyncExitStack) -> None:
        if self._setup.initializer is None:
            return
        given: Any = self._setup.initializer(*self._setup.initargs)
        if hasattr(given, "__aenter__"):
            await stack.enter_async_context(given)
        elif hasattr(given, "__await__"):
            await given

    def _start_more(self) -> None:
        """Start tasks that wait, as far as there are places; finish when there is nothing left to do."""
        with self._lock:
            self._rung = False
            count = min(len(self._queue), self._free)
            self._free -= count
            jobs = [self._queue.popleft() for _ in range(count)]
            self._running.update(jobs)
            done = self._closed and self._free == self._setup.limit
        for job in jobs:
            self._begin(job)
        if done and self._finished is not None and not self._finished.done():
            self._finished.set_result(None)

    def _begin(self, job: Job) -> None:
        loop = asyncio.get_running_loop()
        job.task = loop.create_task(_carry_out(job), context=job.context)
        job.task.add_done_callback(partial(self._land, job))

    def _land(self, job: Job, _task: asyncio.Task[None]) -> None:
        with self._lock:
            self._running.discard(job)
            self._free += 1
            self._ended["cancelled" if job.future.cancelled() else job.end] += 1
        _drop(job.future)
        job.future._job = None  # noqa: SLF001 - its other half
        self._start_more()

    def _break(self, error: BaseException) -> None:
        with self._lock:
            self._failure = error
            waiting, running = tuple(self._queue), tuple(self._running)
            self._queue.clear()
            self._ended["raised"] += len(waiting)
        if not waiting and not running and self._finished is not None and self._finished.done():
            logging.getLogger("whichever").error("%s could not close", self._setup.name, exc_info=error)
        for job in (*waiting, *running):
            _settle(job.future, None, _broken(error))
        for job in waiting:
            _drop(job.future)  # those that run are dropped where they end


async def _carry_out(job: Job) -> None:
    future = job.future
    if future.done():  # cancelled before it began
        return
    job.begun = True
    try:
        if job.timeout is None:
            value = await job.fn(*job.args, **job.kwargs)
        else:
            value = await _within(job.timeout, job)
    except asyncio.CancelledError:
        Future.cancel(future)
    except BaseException as error:  # noqa: BLE001 - a task may raise anything, and the loop goes on
        if job.end != "timed_out":
            job.end = "raised"
        _settle(future, None, error)
    else:
        job.end = "returned"
        _settle(future, value, None)
    finally:
        del job, future  # an error's traceback holds this frame


async def _within(seconds: float, job: Job) -> Any:
    """Await the task for so long.

    Raises:
        TaskTimeoutError: It was cancelled for its time was over.
    """
    scope = asyncio.timeout(seconds)
    try:
        async with scope:
            return await job.fn(*job.args, **job.kwargs)
    except TimeoutError:
        if not scope.expired():
            raise
        job.end = "timed_out"
        msg = f"the task ran for longer than {seconds:g} s and was cancelled"
        raise TaskTimeoutError(msg) from None
    finally:
        del job


def _settle(future: Future[Any], value: Any, error: BaseException | None) -> None:
    with contextlib.suppress(InvalidStateError):  # it was cancelled meanwhile
        if error is None:
            future.set_result(value)
        else:
            future.set_exception(error)


def _drop(future: Future[Any]) -> None:
    """Cancel a task that has no end of its own, and tell who waits for it. Called once for each task."""
    Future.cancel(future)
    if future.cancelled():
        future.set_running_or_notify_cancel()


def _call(loop: asyncio.AbstractEventLoop, fn: Callable[[], object]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop has ended, and with it what was to be told
        loop.call_soon_threadsafe(fn)


def _broken(error: BaseException) -> PoolBrokenError:
    return broken_by(error, f"the pool's loop cannot run tasks: {type(error).__name__}: {error}")


go_first()  # at exit: coroutines that are awaited there may still need the threads of ``asyncio.to_thread``
