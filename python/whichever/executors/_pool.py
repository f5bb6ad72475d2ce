"""`ProcessPool`: an executor over worker processes, on shared memory."""

from __future__ import annotations

import os
import sys
import threading
import weakref
from collections.abc import Sized
from concurrent import futures
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec, TypeVar

from whichever import _core
from whichever._types import PoolStatistics
from whichever.executors._future import Future, new_future
from whichever.executors._host import Host, Staff
from whichever.executors._progress import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from multiprocessing.context import BaseContext
    from types import TracebackType

P = ParamSpec("P")
T = TypeVar("T")

_GRACE_SECONDS = 5.0  # for killed workers to be reported; then they are somebody else's


class ProcessPool(futures.Executor):
    """Runs tasks in worker processes; a `concurrent.futures.ProcessPoolExecutor` in every corner, without its traps.

    Scripts need no ``if __name__ == "__main__"`` guard; lambdas, closures and classes of ``__main__`` work; a
    worker that dies costs the one task it ran; Ctrl-C ends everything at once; `map` takes generators without
    end and finds its own chunk size.

    Args:
        max_workers: Most worker processes at a time; None for one a usable core. They start when tasks need them.
        mp_context: A context of multiprocessing that is to make the workers, with its start method's rules (guards
            included). If in doubt, leave it: workers come from a process of one thread, kept ready.
        initializer: Called in each worker before its first task. When it raises, the pool is broken.
        initargs: Its arguments.
        max_tasks_per_child: Tasks after which a worker is replaced; None for never.
        timeout: Seconds that each task may run before it is stopped; None for no limit. See `options`.
        retries: How often a task is run again whose worker died. Leave it at 0 for tasks that must not run twice.
        max_memory_bytes: Resident memory beyond which a worker is replaced once its task has ended.
        inner_threads: Threads that native libraries (BLAS, OpenMP) may use in each worker; None for its share of
            the usable cores.
        name: What ps shows for the workers, with a number behind it.

    Raises:
        ValueError: An argument is out of range.
        TypeError: An argument is of the wrong type.
    """

    def __init__(  # noqa: PLR0913 - the standard executor's, and a few more
        self,
        max_workers: int | None = None,
        mp_context: BaseContext | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        max_tasks_per_child: int | None = None,
        timeout: float | None = None,
        retries: int = 0,
        max_memory_bytes: int | None = None,
        inner_threads: int | None = None,
        name: str = "whichever",
    ) -> None:
        cores = max(int(_core.usable_cores()["cores"]), 1)
        workers = cores if max_workers is None else max_workers
        if workers <= 0:
            msg = "max_workers must be greater than 0"
            raise ValueError(msg)
        if initializer is not None and not callable(initializer):
            msg = "initializer must be a callable"
            raise TypeError(msg)
        _check_context(mp_context)
        _check_tasks_per_child(max_tasks_per_child, mp_context)
        _check_rules(timeout, retries)
        _check_positive(max_memory_bytes=max_memory_bytes, inner_threads=inner_threads)
        threads = max(cores // workers, 1) if inner_threads is None else inner_threads
        staff = Staff(name, threads, max_memory_bytes, mp_context, initializer, tuple(initargs))
        self._max_workers = workers
        self._rules = timeout, retries
        self._host = self._make_host(staff)
        self._core = _core.PoolCore(self._host, new_future(), workers, max_tasks_per_child)
        self._finalizer = weakref.finalize(self, _abandon, self._core)
        self._finalizer.atexit = False  # what is open at exit is joined: see `_end_all`
        _keep(self._core, self._host)

    def _make_host(self, staff: Staff) -> Host:
        """Return whom the core is to ask for workers: those of the crew that pools share."""
        return Host(staff)

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Hand in a task: ``fn(*args, **kwargs)``, run in a worker process.

        The arguments are pickled before this returns, but buffers of 64 KiB and more (arrays, bytearrays) are copied
        when the task goes to a worker: leave them alone until then.

        Raises:
            RuntimeError: The pool was shut down.
        """
        return self._submit(self._rules, fn, args, kwargs)

    def _submit(
        self, rules: tuple[float | None, int], fn: Callable[..., T], args: Any, kwargs: Any
    ) -> Future[T]:
        future: Future[T] = self._core.submit_call(rules, fn, args, kwargs)
        return future

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int | None = None,
        buffersize: int | None = None,
        ordered: bool = True,
        progress: bool = False,
    ) -> Iterator[T]:
        """Return an iterator over ``fn(*items)`` for the items of all `iterables`, taken together.

        Collections are handed in at once, up to 100 000 items; generators as results are taken, as far ahead as keeps
        the workers busy. What was not taken when the iterator is dropped is not run.

        Args:
            fn: The task.
            iterables: Where its arguments come from; the shortest ends it.
            timeout: Seconds from now until the last result must have been taken.
            chunksize: Tasks that a worker may always hold; None to let their run time decide.
            buffersize: Most items taken ahead of the results; None to let their kind and run time decide.
            ordered: Whether results come in the items' order, or as they arrive.
            progress: Whether to show how far it is, on a terminal or in a notebook.

        Raises:
            TimeoutError: From the iterator: the time was over.
            ValueError: A size is below 1.
        """
        return self._map(
            self._rules,
            fn,
            iterables,
            timeout=timeout,
            sizes=(chunksize, buffersize),
            ordered=ordered,
            progress=progress,
        )

    def _map(  # noqa: PLR0913 - one call's keywords
        self,
        rules: tuple[float | None, int],
        fn: Callable[..., T],
        iterables: tuple[Iterable[Any], ...],
        *,
        timeout: float | None,
        sizes: tuple[int | None, int | None],
        ordered: bool,
        progress: bool,
    ) -> Iterator[T]:
        chunksize, buffersize = sizes
        if chunksize is not None and chunksize < 1:
            msg = "chunksize must be >= 1."
            raise ValueError(msg)
        if buffersize is not None and not isinstance(buffersize, int):
            msg = "buffersize must be an integer or None"
            raise TypeError(msg)
        if buffersize is not None and buffersize < 1:
            msg = "buffersize must be None or > 0"
            raise ValueError(msg)
        lengths = [len(items) for items in iterables if isinstance(items, Sized)]
        results: Iterator[T] = self._core.map_items(
            fn,
            iterables[0] if len(iterables) == 1 else zip(*iterables, strict=False),
            star=len(iterables) != 1,
            eager=buffersize is None and len(lengths) == len(iterables),
            ahead=buffersize or 0,
            chunksize=chunksize or 1,
            ordered=ordered,
            timeout=timeout,
            rules=rules,
        )
        return shown(results, min(lengths, default=None)) if progress else results

    def options(self, *, timeout: float | None = None, retries: int | None = None) -> ProcessPoolOptions:
        """Return this pool under other rules: ``pool.options(timeout=2.5, retries=1).submit(fn)``.

        Args:
            timeout: Seconds that each task may run; None for the pool's own limit.
            retries: How often a task is run again whose worker died; None for the pool's own number.
        """
        _check_rules(timeout, retries or 0)
        own_timeout, own_retries = self._rules
        return ProcessPoolOptions(
            self, own_timeout if timeout is None else timeout, own_retries if retries is None else retries
        )

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - as the standard one
        """Take no more tasks; workers leave when those handed in have ended.

        Args:
            wait: Whether to return only then.
            cancel_futures: Whether to cancel tasks that have not started.
        """
        core = self._core
        if core.is_foreign():
            return
        core.close(cancel_futures)
        if wait:
            try:
                core.wait_gone()
            except KeyboardInterrupt:
                _kill(core)
                raise
            core.end()
        self._finalizer.detach()

    def terminate_workers(self) -> None:
        """End the workers and the pool now. Tasks that have not ended fail."""
        self.kill_workers()

    def kill_workers(self) -> None:
        """Kill the workers and end the pool now. Tasks that have not ended fail."""
        if not self._core.is_foreign():
            self._core.close(cancel_futures=True)
            _kill(self._core)

    def warm_up(self) -> None:
        """Start all workers now instead of when tasks need them."""
        self._core.warm_up()

    def worker_pids(self) -> tuple[int, ...]:
        """Return the process ids of the workers that have started."""
        return tuple(self._core.pids())

    def statistics(self) -> PoolStatistics:
        """Return what the pool has done and holds."""
        return PoolStatistics(**self._core.counts())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        """Shut down; after Ctrl-C without waiting for tasks."""
        if kind is not None and not issubclass(kind, Exception):
            self.kill_workers()
        else:
            self.shutdown(wait=True)
        return None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} max_workers={self._max_workers}>"

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled.

        Raises:
            TypeError: Always.
        """
        msg = (
            f"cannot pickle a {type(self).__name__}, which belongs to the process that made it: a task must not "
            "carry its pool (a method carries its object with all attributes, a closure what it names)"
        )
        raise TypeError(msg)


class ProcessPoolOptions(futures.Executor):
    """A pool under other rules; see `ProcessPool.options`. It has no workers of its own and needs no shutdown."""

    def __init__(self, pool: ProcessPool, timeout: float | None, retries: int) -> None:
        self._pool = pool
        self._rules = timeout, retries

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Hand in a task; see `ProcessPool.submit`."""
        return self._pool._submit(self._rules, fn, args, kwargs)  # noqa: SLF001 - a view of it

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int | None = None,
        buffersize: int | None = None,
        ordered: bool = True,
        progress: bool = False,
    ) -> Iterator[T]:
        """Return an iterator over results; see `ProcessPool.map`."""
        return self._pool._map(  # noqa: SLF001 - a view of it
            self._rules,
            fn,
            iterables,
            timeout=timeout,
            sizes=(chunksize, buffersize),
            ordered=ordered,
            progress=progress,
        )

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - as the standard one
        """Do nothing: the pool is shut down by whoever made it."""


def _check_rules(timeout: float | None, retries: int) -> None:
    if timeout is not None and not timeout > 0:
        msg = f"timeout must be above 0 seconds, or None, not {timeout}"
        raise ValueError(msg)
    if retries < 0:
        msg = f"retries must be at least 0, not {retries}"
        raise ValueError(msg)


def _check_positive(**numbers: int | None) -> None:
    for name, number in numbers.items():
        if number is not None and number < 1:
            msg = f"{name} must be at least 1, or None, not {number}"
            raise ValueError(msg)


def _check_context(context: BaseContext | None) -> None:
    if context is not None and not hasattr(context, "get_start_method"):
        msg = f"mp_context must be a context, as multiprocessing.get_context({context!r}) makes"
        raise TypeError(msg)


def _check_tasks_per_child(limit: int | None, context: BaseContext | None) -> None:
    if limit is None:
        return
    if not isinstance(limit, int):
        msg = "max_tasks_per_child must be an integer"
        raise TypeError(msg)
    if limit <= 0:
        msg = "max_tasks_per_child must be >= 1"
        raise ValueError(msg)
    if context is not None and context.get_start_method(allow_none=False) == "fork":
        msg = (
            "max_tasks_per_child is incompatible with the 'fork' multiprocessing start method; "
            "supply a different mp_context."
        )
        raise ValueError(msg)


_open: dict[Host, _core.PoolCore] = {}
"""Pools that may have workers, whether anybody still holds them or not. Threads add and remove at once."""


def _keep(core: _core.PoolCore, host: Host) -> None:
    host.on_over = _forget
    _open[host] = core


def _kill(core: _core.PoolCore) -> None:
    core.kill("the pool was ended while the task had not")
    core.wait_gone(_GRACE_SECONDS)
    core.end()


def _forget(host: Host) -> None:
    _open.pop(host, None)


def _abandon(core: _core.PoolCore) -> None:
    """End a pool that nobody holds any more: what was handed in is run."""
    if not core.is_foreign():
        core.close(cancel_futures=False)


def _end_all() -> None:
    """End the pools that are open when the interpreter does; Ctrl-C was a wish to end now."""
    for host in tuple(_open):
        host.ending = True
    interrupted = getattr(sys, "last_type", None) is KeyboardInterrupt
    for core in tuple(_open.values()):
        if core.is_foreign():
            continue
        core.close(cancel_futures=interrupted)
        try:
            if not interrupted:
                core.wait_gone()
        except KeyboardInterrupt:
            interrupted = True
        if interrupted:
            _kill(core)
        core.end()
    _open.clear()


# As the standard executors: before the interpreter's own threads are joined, or a callback's thread would wait for us.
threading._register_atexit(_end_all)  # type: ignore[attr-defined]  # noqa: SLF001
os.register_at_fork(after_in_child=_open.clear)
