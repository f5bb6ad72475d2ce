"""`ThreadPool`: an executor over threads of this process, with native workers, queue and futures."""

from __future__ import annotations

import contextvars
import itertools
import logging
import math
import os
import threading
import time
from concurrent.futures.thread import BrokenThreadPool, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from whichever import _core
from whichever._types import ThreadPoolStatistics
from whichever.errors import PoolBrokenError, TaskTimeoutError
from whichever.executors._cores_left import cores_left, share_of
from whichever.executors._exit import SLICE_SECONDS, Ending
from whichever.executors._face import PoolFace, PoolOptions, check_initializer, check_workers
from whichever.executors._future import Future, new_future
from whichever.executors._inner_threads import InnerThreads, is_possible
from whichever.executors._remote.sharers import enter_thread, sharers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from whichever.executors._face import MapPlan, Rules

P = ParamSpec("P")
T = TypeVar("T")

_LEAVE_SECONDS = 0.1  # for idle workers to be gone at exit when busy ones are left behind
_STARTING_SECONDS = 0.001  # for a thread to start that a worker was given
_numbers = itertools.count()
_LOGGER = logging.getLogger("concurrent.futures")


class ThreadPool(_core.ThreadPoolCore, PoolFace, ThreadPoolExecutor):
    """Runs tasks in threads; a `concurrent.futures.ThreadPoolExecutor` in every corner, several times as fast.

    It is one by inheritance, in name only, since ``loop.set_default_executor`` takes nothing else.

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
        timeout: Seconds that a task may run; None without a limit. The time that it waits to be started does not count.
            A thread cannot be stopped: the task's future raises a `TaskTimeoutError` then, and what the task leaves in
            the end is dropped. Nobody waits for its thread, in whose place the pool starts another.
        inner_threads: Threads that native libraries (BLAS, OpenMP) may use for each worker while tasks run; None for
            its share of the cores, at least 1. Needs `threadpoolctl`; without it, None limits nothing. What
            ``OMP_NUM_THREADS`` and the like say in the environment stays.
        daemon: Whether the interpreter's end waits for no task: what has not started is dropped then, what runs is
            left behind. If in doubt, leave it.
        copy_context: Whether tasks see the context variables of whoever handed them in. Without, a task is handed in
            and run a little faster, and what it sets in its context stays set for the thread's next task.

    Raises:
        ValueError: `max_workers` or `inner_threads` is below 1, or `timeout` not above 0.
        ModuleNotFoundError: `inner_threads` is given, and threadpoolctl is not installed.
        TypeError: `initializer` cannot be called.
    """

    _engine = "threads"

    def __init__(  # noqa: PLR0913 - each is an option of its own
        self,
        max_workers: int | None = None,
        thread_name_prefix: str = "",
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        timeout: float | None = None,
        inner_threads: int | None = None,
        daemon: bool = False,
        copy_context: bool = True,
    ) -> None:
        workers = _default_workers() if max_workers is None else check_workers(max_workers)
        check_initializer(initializer)
        super().__init__(workers, (timeout, 0))
        inner = _inner_threads(inner_threads, workers)
        prefix = thread_name_prefix or f"{type(self).__name__}-{next(_numbers)}"
        self._host = _Host(prefix, initializer, tuple(initargs), inner, daemon=daemon)
        self._host.sharers = sharers() * workers
        copying = contextvars.copy_context if copy_context else None
        self.open(self._host, new_future(), workers, copying, timeout)

    if TYPE_CHECKING:  # the native one, said again for those who read types

        def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]: ...

    def _submit(self, rules: Rules, fn: Callable[..., T], args: Any, kwargs: Any) -> Future[T]:
        future: Future[T] = self.submit_within(rules[0], (fn, *args), kwargs)
        return future

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
            task_timeout=plan.rules[0],
            first=first,
        )
        return results

    def options(self, *, timeout: float | None = None) -> PoolOptions:
        """Return this pool under other rules: ``pool.options(timeout=2.5).submit(fn)``.

        Args:
            timeout: Seconds that each task may run before it is given up; None for the pool's own limit.
        """
        return PoolOptions(self, (self._rules[0] if timeout is None else timeout, 0))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - as the standard one
        """Take no more tasks; threads end when those handed in have ended. Tasks past their time are not waited for.

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
    def _threads(self) -> set[threading.Thread]:  # type: ignore[override] # theirs is an attribute
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
        inner: InnerThreads | None,
        *,
        daemon: bool,
    ) -> None:
        self.is_left = daemon  # nobody waits for its tasks at exit
        self.sharers = 1  # threads that share the cores with each, times the workers of the pools around
        self._prefix = prefix
        self.inner = inner  # whom the core asks to limit BLAS, and to let go of it
        self.begin = initializer, initargs
        self.cause: BaseException | None = None  # what the initializer raised
        self._daemon = daemon
        self.threads: list[_Thread] = []
        self._count = itertools.count()
        self._alarm: threading.Event | None = None  # wakes the timekeeper, if there is one

    def hire(self, worker: _core.ThreadWorker) -> None:
        """Start a thread for `worker`."""
        thread = _Thread(worker, self, name=f"{self._prefix}_{next(self._count)}", daemon=self._daemon)
        self.threads.append(thread)
        self.keep()
        try:
            thread.start()
        except RuntimeError as error:
            if thread.ident is None:
                self.threads.remove(thread)  # nobody is to wait for it
            # Ctrl-C inside a lock of the thread's start: the lock's own complaint hides it.
            if isinstance(error.__context__, KeyboardInterrupt):
                raise error.__context__ from None
            raise

    def leave(self) -> None:
        """Hear that a thread ends. With the last one the pool is over, or has nothing to do for now."""
        self.forget()
        worker = self._latest_worker()
        if worker is not None and worker.fellows():
            self.keep()  # whoever starts one meanwhile does so later than this looks, or is seen by it
        elif self._alarm is not None:
            self._alarm.set()

    def keep_time(self, keeper: _core.Timekeeper, alarm: threading.Event) -> None:
        """Start the thread that gives up tasks which are past their time."""
        self._alarm = alarm
        name = f"{self._prefix}_timekeeper"
        threading.Thread(target=_keep_time, args=(keeper, alarm), name=name, daemon=True).start()

    def ran_too_long(self, seconds: float) -> BaseException:
        """Make the exception of a task that ran past its time."""
        return TaskTimeoutError(
            f"the task ran for longer than {seconds:g} s and was given up; a thread cannot be stopped, so it runs "
            "on, and what it leaves is dropped (a ProcessPool stops such a task)"
        )

    def waited_too_long(self, seconds: float) -> BaseException:
        """Make the exception of a task that no thread was left for."""
        return TaskTimeoutError(
            f"no thread was left to start the task within {seconds:g} s: all run tasks that are past their time, and "
            "as many run beside the pool already; find out why they do not end, or use a ProcessPool, which stops them"
        )

    def broken(self, reason: str) -> BaseException:
        """Make the exception of a task that the broken pool does not run."""
        error = _BrokenError(reason)
        error.__cause__ = self.cause
        return error

    def join(self, seconds: float | None = None) -> None:
        """Wait until the pool has no workers but this thread, and their threads have ended; or for so many seconds.

        Those that are past their time are not waited for.
        """
        end = math.inf if seconds is None else time.monotonic() + seconds
        me = threading.current_thread()
        own = int(me in self.threads)
        while (left := end - time.monotonic()) > 0:
            thread = next(
                (thread for thread in self.threads if thread is not me and thread.is_needed()), None
            )
            worker = self._latest_worker()
            if thread is not None:
                # A signal that comes just before a wait does not end it: no wait is long.
                thread.join(min(left, SLICE_SECONDS))
            elif worker is not None and worker.fellows() > own:
                time.sleep(_STARTING_SECONDS)  # somebody is just starting one
            else:
                return

    def _latest_worker(self) -> _core.ThreadWorker | None:
        """Return the worker of the thread that was started last; None when all have ended."""
        # A child has threads of its own behind those of its parent.
        workers = (thread.worker for thread in reversed(self.threads))
        return next((worker for worker in workers if worker is not None), None)

    def end_at_exit(self, *, interrupted: bool) -> None:
        """Run what was handed in, unless nobody shall wait for it; then see the threads end."""
        hurries = interrupted or self.is_left
        worker = self._latest_worker()
        if worker is not None:
            worker.close(cancel_futures=hurries)
        self.join(_LEAVE_SECONDS if hurries else None)


class _Thread(threading.Thread):
    """The thread of a worker.

    To the interpreter it is a daemon: whether tasks are waited for at exit is decided by us, when it is known whether
    Ctrl-C was the reason. To tasks it is one only if its pool is, since the threads that they start inherit that.
    """

    def __init__(self, worker: _core.ThreadWorker, host: _Host, *, name: str, daemon: bool) -> None:
        super().__init__(name=name, daemon=True)
        self.worker: _core.ThreadWorker | None = worker
        self._host: _Host | None = host
        self._shown_daemon = True
        self._pools_daemon = daemon

    @property
    def daemon(self) -> bool:
        """Whether threads that its tasks start are daemons unless they say otherwise."""
        return self._shown_daemon

    @daemon.setter
    def daemon(self, daemon: bool) -> None:
        self._shown_daemon = daemon

    def is_needed(self) -> bool:
        """Say whether it runs and somebody cares: its task was not given up."""
        worker = self.worker
        return self.is_alive() and not (worker is not None and worker.is_overdue())

    def run(self) -> None:
        """Work until the pool is over."""
        self._shown_daemon = self._pools_daemon
        worker, host = self.worker, self._host
        if worker is None or host is None:
            return
        try:
            self._work(worker, host)
        finally:
            # The pool's core holds the host, and that this thread: nobody could collect the circle.
            self.worker = self._host = None
            host.leave()

    def _work(self, worker: _core.ThreadWorker, host: _Host) -> None:
        enter_thread(host.sharers)
        if not worker.start():
            return
        try:
            initializer, initargs = host.begin
            if initializer is not None:
                initializer(*initargs)
        except BaseException as error:
            _LOGGER.critical("Exception in initializer:", exc_info=True)
            host.cause = error
            worker.break_down("A thread initializer failed, the thread pool is not usable anymore")
            return
        try:
            _serve(worker)
        except BaseException:
            _LOGGER.critical("Exception in worker", exc_info=True)
            worker.quit()
        if worker.is_overdue():
            host.threads.remove(self)  # another has its place


def _keep_time(keeper: _core.Timekeeper, alarm: threading.Event) -> None:
    """Give up what is past its time, as long as tasks with a limit run.

    It sleeps here and not in native code: the interpreter's end may find it asleep.
    """
    while (seconds := keeper.look()) is not None:
        alarm.wait(seconds)
        alarm.clear()


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


def _inner_threads(number: int | None, workers: int) -> InnerThreads | None:
    if number is not None and number < 1:
        msg = f"inner_threads must be at least 1, or None, not {number}"
        raise ValueError(msg)
    if is_possible():
        return InnerThreads(max(cores_left() // workers, 1) if number is None else number)
    if number is None:
        return None
    msg = "inner_threads needs threadpoolctl: pip install 'whichever[blas]'"
    raise ModuleNotFoundError(msg, name="threadpoolctl")


def _default_workers() -> int:
    cores = getattr(os, "process_cpu_count", os.cpu_count)() or 1
    return min(32, share_of(cores) + 4)
