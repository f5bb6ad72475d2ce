"""`ProcessPool`: an executor over worker processes, on shared memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from whichever import _core
from whichever._types import PoolStatistics
from whichever.executors._cores_left import cores_left
from whichever.executors._exit import Ending
from whichever.executors._face import PoolFace, PoolOptions, check_initializer, check_workers
from whichever.executors._future import Future, new_future
from whichever.executors._host import Host, Staff
from whichever.executors._remote.sharers import sharers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from multiprocessing.context import BaseContext

    from whichever.executors._face import MapPlan, Rules

P = ParamSpec("P")
T = TypeVar("T")

_GRACE_SECONDS = 5.0  # for killed workers to be reported; then they are somebody else's


class ProcessPool(PoolFace):
    """Runs tasks in worker processes; a `concurrent.futures.ProcessPoolExecutor` in every corner, without its traps.

    Scripts need no ``if __name__ == "__main__"`` guard; lambdas, closures and classes of ``__main__`` work; a
    worker that dies costs the one task it ran; Ctrl-C ends everything at once; `map` takes generators without
    end and finds its own chunk size.

    Args:
        max_workers: Most worker processes at a time; None for one a usable core, inside a worker of another pool one
            a core of its share. They start when tasks need them.
        mp_context: A context of multiprocessing that is to make the workers, with its start method's rules (guards
            included). If in doubt, leave it: workers come from a process of one thread, kept ready.
        initializer: Called in each worker before its first task. When it raises, the pool is broken.
        initargs: Its arguments.
        max_tasks_per_child: Tasks after which a worker is replaced; None for never.
        timeout: Seconds that each task may run before it is stopped; None for no limit. See `options`.
        retries: How often a task is run again whose worker died. Leave it at 0 for tasks that must not run twice.
        max_memory_bytes: Resident memory beyond which a worker is replaced once its task has ended.
        inner_threads: Threads that native libraries (BLAS, OpenMP) may use in each worker; None for its share of
            the cores.
        name: What ps shows for the workers, with a number behind it.

    Raises:
        ValueError: An argument is out of range.
        TypeError: An argument is of the wrong type.
    """

    _engine = "processes"

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
        cores = cores_left()
        workers = check_workers(cores if max_workers is None else max_workers)
        super().__init__(workers, (timeout, retries))
        check_initializer(initializer)
        _check_context(mp_context)
        _check_tasks_per_child(max_tasks_per_child, mp_context)
        _check_positive(max_memory_bytes=max_memory_bytes, inner_threads=inner_threads)
        threads = max(cores // workers, 1) if inner_threads is None else inner_threads
        staff = Staff(
            name, sharers() * workers, threads, max_memory_bytes, mp_context, initializer, tuple(initargs)
        )
        self._host = self._make_host(staff)
        self._core = _core.PoolCore(self._host, new_future(), workers, max_tasks_per_child)
        self._finalizer = _core.Finalizer(_abandon, self._core)
        _Ending(self._core, self._host).keep()

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

    def _submit(self, rules: Rules, fn: Callable[..., T], args: Any, kwargs: Any) -> Future[T]:
        future: Future[T] = self._core.submit_call(rules, fn, args, kwargs)
        return future

    def submit_or_raise(self, rules: Rules, fn: Callable[..., T], args: Any, kwargs: Any) -> Future[T]:
        """Hand in a task; raise what keeps its function or arguments from being pickled."""
        future: Future[T] = self._core.submit_call(rules, fn, args, kwargs, raises=True)
        return future

    def _results(self, plan: MapPlan[T]) -> Iterator[T]:
        iterables = plan.iterables
        if len(iterables) == 1:
            return self.results_of(plan, iterables[0], star=False)
        return self.results_of(plan, zip(*iterables, strict=False), star=True)

    def results_of(
        self,
        plan: MapPlan[T],
        items: Iterable[Any],
        *,
        star: bool,
        rescue: Callable[[Any, BaseException], Future[T]] | None = None,
    ) -> Iterator[T]:
        """Hand in what `plan` says for `items` instead of its own; with `star` each is a tuple of arguments.

        For an item that does not pickle `rescue` is called with it and the error; it gives the future of its task.
        """
        results: Iterator[T] = self._core.map_items(
            plan.fn,
            items,
            star=star,
            eager=plan.eager,
            ahead=plan.buffersize or 0,
            chunksize=plan.chunksize or 1,
            ordered=plan.ordered,
            timeout=plan.timeout,
            rules=plan.rules,
            rescue=rescue,
        )
        return results

    def options(self, *, timeout: float | None = None, retries: int | None = None) -> PoolOptions:
        """Return this pool under other rules: ``pool.options(timeout=2.5, retries=1).submit(fn)``.

        Args:
            timeout: Seconds that each task may run; None for the pool's own limit.
            retries: How often a task is run again whose worker died; None for the pool's own number.
        """
        own_timeout, own_retries = self._rules
        return PoolOptions(
            self,
            (own_timeout if timeout is None else timeout, own_retries if retries is None else retries),
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

    def _end_now(self) -> None:
        self.kill_workers()


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


class _Ending(Ending):
    """Ends the workers of a pool."""

    def __init__(self, core: _core.PoolCore, host: Host) -> None:
        self._core, self._host = core, host
        host.on_over = self._let_go

    def _let_go(self, host: Host) -> None:
        host.on_over = (
            None  # it leads back here, and the garbage collector does not see the core's part of the circle
        )
        self.forget()

    def foresee_exit(self) -> None:
        self._host.ending = True

    def end_at_exit(self, *, interrupted: bool) -> None:
        core = self._core
        if core.is_foreign():
            return
        core.close(cancel_futures=interrupted)
        if interrupted:
            _kill(core)
        else:
            core.wait_gone()
        core.end()


def _kill(core: _core.PoolCore) -> None:
    core.kill("the pool was ended while the task had not")
    core.wait_gone(_GRACE_SECONDS)
    core.end()


def _abandon(core: _core.PoolCore) -> None:
    """End a pool that nobody holds any more: what was handed in is run."""
    if not core.is_foreign():
        core.close(cancel_futures=False)
