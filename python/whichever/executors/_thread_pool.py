"""`ThreadPool`: an executor over threads of this process, with native workers, queue and futures."""

from __future__ import annotations

import contextvars
import itertools
import logging
import math
import os
import threading
import time
from concurrent.futures.thread import BrokenThreadPool
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from whichever import _core
from whichever._types import ThreadPoolStatistics
from whichever.errors import PoolBrokenError
from whichever.executors._cores_left import share_of
from whichever.executors._exit import SLICE_SECONDS, Ending
from whichever.executors._face import PoolFace, check_initializer, check_workers
from whichever.executors._future import Future, new_future
from whichever.executors._remote.sharers import enter_thread, sharers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from whichever.executors._face import MapPlan, Rules

P = ParamSpec("P")
T = TypeVar("T")

_LEAVE_SECONDS = 0.1  # for idle workers to be gone at exit when busy ones are left behind
_numbers = itertools.count()
_LOGGER = logging.getLogger("concurrent.futures")


class ThreadPool(_core.ThreadPoolCore, PoolFace):
    """Runs tasks in threads; a `concurrent.futures.ThreadPoolExecutor` in every corner, several times as fast.

    Threads start when tasks need them and are kept. Each task runs in a copy of the context variables that `submit`
    was called with. Where the interpreter has a GIL, tasks that compute do not crowd out those that wait.

    When the interpreter ends, tasks that were handed in are run to their end first, as with the standard executor.
    After Ctrl-C those that have not started are dropped, and those that run are left behind. Leaving ``with`` by
    Ctrl-C does the same.

    Args:
        max_workers: Most threads at a time; None for the cores and four more, at most 32, as the standard executor.
            Inside a worker of another pool, only its share of the cores counts.
        thread_name_prefix: What the threads are called, with a number behind it.
        initializer: Called in each thread before its first task. When it raises, the pool is broken.
        initargs: Its arguments.
        daemon: Whether the interpreter's end waits for no task: what has not started is dropped then, what runs is
            left behind. If in doubt, leave it.
        copy_context: Whether tasks see the context variables of whoever handed them in. Without, a task is handed in
            and run a little faster, and what it sets in its context stays set for the thread's next task.

    Raises:
        ValueError: `max_workers` is below 1.
        TypeError: `initializer` cannot be called.
    """

    _engine = "threads"

    def __init__(
        self,
        max_workers: int | None = None,
        thread_name_prefix: str = "",
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        daemon: bool = False,
        copy_context: bool = True,
    ) -> None:
        workers = _default_workers() if max_workers is None else check_workers(max_workers)
        check_initializer(initializer)
        super().__init__(workers)
        prefix = thread_name_prefix or f"{type(self).__name__}-{next(_numbers)}"
        self._host = _Host(prefix, initializer, tuple(initargs), daemon=daemon)
        self._host.sharers = sharers() * workers
        self.open(self._host, new_future(), workers, contextvars.copy_context if copy_context else None)

    if TYPE_CHECKING:  # the native one, said again for those who read types

        def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]: ...

    def _submit(self, rules: Rules, fn: Callable[..., T], args: Any, kwargs: Any) -> Future[T]:
        del rules
        return self.submit(fn, *args, **kwargs)

    def _results(self, plan: MapPlan[T]) -> Iterator[T]:
        iterables = plan.iterables
        if len(iterables) == 1:
            return self.results_of(plan, iterables[0], star=False)
        return self.results_of(plan, zip(*iterables, strict=False), star=True)

    def results_of(
        self, plan: MapPlan[T], items: Iterable[Any], *, star: bool, first: int = 0
    ) -> Iterator[T]:
        """Hand in what `plan` says for `items` instead of its own; with `star` each is a tuple of arguments.

        Of a generator, `first` tasks may be open at first, if that is more than the workers need.
        """
        results: Iterator[T] = self.map_items(
            plan.fn,
            items,
            star=star,
            eager=plan.eager,
            ahead=plan.buffersize or 0,
            ordered=plan.ordered,
            timeout=plan.timeout,
            first=first,
        )
        return results

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - as the standard one
        """Take no more tasks; threads end when those handed in have ended.

        Args:
            wait: Whether to return only then. Ctrl-C ends the wait, and drops the tasks that have not started.
            cancel_futures: Whether to cancel tasks that have not started.
        """
        self.close(cancel_futures)
        if wait:
            try:
                self._host.join()
            except KeyboardInterrupt:
                self.close(cancel_futures=True)
                raise
            self._host.forget()

    @property
    def _threads(self) -> set[threading.Thread]:
        """The threads, where programs that know the standard executor look for them."""
        return {thread for thread in self._host.threads if thread.is_alive()}

    def _end_now(self) -> None:
        self.close(cancel_futures=True)
        self._host.is_left = True

    def statistics(self) -> ThreadPoolStatistics:
        """Return what the pool has done and holds."""
        return ThreadPoolStatistics(**self.counts())


class _BrokenError(PoolBrokenError, BrokenThreadPool):
    """What the standard executor and ours raise, in one."""


class _Host(Ending):
    """What a pool's core asks of Python: threads, and exceptions. It outlives the pool and ends the threads at exit."""

    def __init__(
        self,
        prefix: str,
        initializer: Callable[..., object] | None,
        initargs: tuple[Any, ...],
        *,
        daemon: bool,
    ) -> None:
        self.is_left = daemon  # nobody waits for its tasks at exit
        self.sharers = 1  # threads that share the cores with each, times the workers of the pools around
        self._prefix = prefix
        self.begin = initializer, initargs
        self.cause: BaseException | None = None  # what the initializer raised
        self._daemon = daemon
        self.threads: list[_Thread] = []
        self._count = itertools.count()

    def hire(self, worker: _core.ThreadWorker) -> None:
        """Start a thread for `worker`."""
        thread = _Thread(worker, self, name=f"{self._prefix}_{next(self._count)}", daemon=self._daemon)
        self.threads.append(thread)
        self.keep()
        try:
            thread.start()
        except RuntimeError as error:
            # Ctrl-C inside a lock of the thread's start: the lock's own complaint hides it.
            if isinstance(error.__context__, KeyboardInterrupt):
                raise error.__context__ from None
            raise

    def broken(self, reason: str) -> BaseException:
        """Make the exception of a task that the broken pool does not run."""
        error = _BrokenError(reason)
        error.__cause__ = self.cause
        return error

    def join(self, seconds: float | None = None) -> None:
        """Wait until all threads but this one have ended, or for so many seconds."""
        end = math.inf if seconds is None else time.monotonic() + seconds
        for thread in tuple(self.threads):
            if thread.ident is None or thread is threading.current_thread():
                continue
            # A signal that comes just before a wait does not end it: no wait is long.
            while thread.is_alive() and (left := end - time.monotonic()) > 0:
                thread.join(min(left, SLICE_SECONDS))

    def end_at_exit(self, *, interrupted: bool) -> None:
        """Run what was handed in, unless nobody shall wait for it; then see the threads end."""
        hurries = interrupted or self.is_left
        for thread in self.threads[-1:]:  # a child has threads of its own behind those of its parent
            thread.worker.close(cancel_futures=hurries)
        self.join(_LEAVE_SECONDS if hurries else None)


class _Thread(threading.Thread):
    """The thread of a worker.

    To the interpreter it is a daemon: whether tasks are waited for at exit is decided by us, when it is known whether
    Ctrl-C was the reason. To tasks it is one only if its pool is, since the threads that they start inherit that.
    """

    def __init__(self, worker: _core.ThreadWorker, host: _Host, *, name: str, daemon: bool) -> None:
        super().__init__(name=name, daemon=True)
        self.worker = worker
        self._host = host
        self._shown_daemon = True
        self._pools_daemon = daemon

    @property
    def daemon(self) -> bool:
        """Whether threads that its tasks start are daemons unless they say otherwise."""
        return self._shown_daemon

    @daemon.setter
    def daemon(self, daemon: bool) -> None:
        self._shown_daemon = daemon

    def run(self) -> None:
        """Work until the pool is over."""
        self._shown_daemon = self._pools_daemon
        enter_thread(self._host.sharers)
        worker = self.worker
        if not worker.start():
            return
        try:
            initializer, initargs = self._host.begin
            if initializer is not None:
                initializer(*initargs)
        except BaseException as error:
            _LOGGER.critical("Exception in initializer:", exc_info=True)
            self._host.cause = error
            worker.break_down("A thread initializer failed, the thread pool is not usable anymore")
            return
        try:
            _serve(worker)
        except BaseException:
            _LOGGER.critical("Exception in worker", exc_info=True)
            worker.quit()


def _serve(worker: _core.ThreadWorker) -> None:
    """Run tasks, until there will be no more."""
    begin, end, fail = worker.begin, worker.end, worker.fail
    while (task := begin()) is not None:
        call, args, kwargs = task
        try:
            result = call(*args) if kwargs is None else call(*args, **kwargs)
        except BaseException as error:  # noqa: BLE001 - SystemExit of a task ends the task, not the thread
            trace = error.__traceback__
            # Without this frame, which goes on to other tasks: nobody who keeps the error is to keep those.
            error.__traceback__ = trace and trace.tb_next
            del task, call, args, kwargs, trace
            fail(error)
        else:
            del task, call, args, kwargs
            end(result)
            del result


def _default_workers() -> int:
    cores = getattr(os, "process_cpu_count", os.cpu_count)() or 1
    return min(32, share_of(cores) + 4)


# Before `Ending` has the pools join their threads: the last to register comes first.
threading._register_atexit(_core.refuse_tasks)  # type: ignore[attr-defined]  # noqa: SLF001
