"""`Pool`: an executor that measures its tasks and runs them where that is fastest."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from whichever import _core
from whichever._types import ENGINE_NAMES, AutoPoolStatistics
from whichever.auto._course import Course
from whichever.auto._home import Home
from whichever.auto._results import Results
from whichever.auto._tasks import Tasks
from whichever.executors._exit import Ending
from whichever.executors._face import PoolFace, check_workers
from whichever.executors._living import Living

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Iterator

    from whichever._types import EngineName
    from whichever.advisor import Verdict
    from whichever.auto._decision import Decision
    from whichever.executors._face import MapPlan, Rules
    from whichever.executors._future import Future

P = ParamSpec("P")
T = TypeVar("T")

_SCOUT_SECONDS = 2.0  # at exit


class Pool(PoolFace, ThreadPoolExecutor):
    """Runs tasks in threads, processes, an event loop or right here: whichever is faster.

    The first tasks of a map run here, in the thread that calls it, and are metered; then the engine that will be the
    fastest takes over, and another one when that changes. Single tasks start in threads. What cannot be moved without
    changing what the program means is not moved: see `verdict`.

    A standard thread pool by inheritance, in name only: ``loop.set_default_executor`` takes nothing else.

    Args:
        engine: ``auto``, or the one engine to use. A number is taken for `workers`, which other executors have first.
        workers: Most workers; None to find out how many are best.
        engines: Engines that may be chosen; None for all.
        seed: Makes what it tries by chance repeatable.
        verbose: Whether to print each decision in a line to standard error.
        remember: Whether what is learned of functions is kept for the next run of the program.
    """

    def __init__(
        self,
        engine: EngineName | str | int = "auto",
        workers: int | None = None,
        *,
        engines: Collection[EngineName] | None = None,
        seed: int | None = None,
        verbose: bool = False,
        remember: bool = True,
    ) -> None:
        del seed  # nothing is left to chance yet
        if isinstance(engine, int):
            if workers is not None:
                msg = f"Pool({engine}, {workers}) says the number of workers twice: the engine comes first"
                raise TypeError(msg)
            workers, engine = engine, "auto"
        chosen = _check_engines(engine, engines)
        if workers is not None:
            check_workers(workers)
        super().__init__(0 if workers is None else workers)
        self._home = Home(chosen, workers, verbose=verbose, remember=remember)
        self._tasks = Tasks(self._home)
        self._courses: Living[Course[Any]] = Living()
        self._is_closed = False
        self._ending = _Ending(self._home, self._courses)
        self._ending.keep()
        self._finalizer = _core.Finalizer(_abandon, self._home, self._ending)

    def _submit(self, rules: Rules, fn: Callable[..., T], args: Any, kwargs: Any) -> Future[T]:
        self._refuse_closed()
        return self._tasks.submit(rules, fn, args, kwargs)

    def _results(self, plan: MapPlan[T]) -> Iterator[T]:
        self._refuse_closed()
        course = Course(self._home, plan)
        self._courses.add(course)
        try:
            course.begin()
        except BaseException:
            course.abandon()
            raise
        return Results(course)

    def _label(self, results: Iterator[Any]) -> str:
        return results.engine if isinstance(results, Results) else "auto"

    async def run(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Await ``fn(*args, **kwargs)``, run as a task of this pool. Cancelling it cancels the task, if that waits.

        Raises:
            RuntimeError: The pool was shut down.
        """
        from whichever.auto._asynchronous import outcome_of  # noqa: PLC0415 - who awaits has loaded asyncio

        return await outcome_of(self.submit(fn, *args, **kwargs))

    def amap(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        buffersize: int | None = None,
        ordered: bool = True,
    ) -> AsyncGenerator[T, None]:
        """Return an asynchronous iterator over what `map` gives: ``async for result in pool.amap(fn, items)``.

        Items are taken, and the first of them run, in a thread of its own; results wait for their reader, a bounded
        number. Close it (``aclose``) or leave it to the loop's end: tasks that have not started are not run.

        Args:
            fn: The task.
            iterables: Where its arguments come from; the shortest ends it.
            timeout: Seconds from now until the last result must have been taken.
            buffersize: Most items taken ahead of the results; None to let their kind and run time decide.
            ordered: Whether results come in the items' order, or as they arrive.

        Raises:
            RuntimeError: The pool was shut down.
            TimeoutError: From the iterator: the time was over.
        """
        from whichever.auto._asynchronous import results_of  # noqa: PLC0415 - who awaits has loaded asyncio

        def read() -> Iterator[T]:
            return self.map(fn, *iterables, timeout=timeout, buffersize=buffersize, ordered=ordered)

        self._refuse_closed()
        return results_of(read)

    @property
    def verdict(self) -> Verdict:
        """What the pool does now and why, for the function that it decided about last.

        Raises:
            NoItemsError: It has not decided anything yet.
        """
        from whichever.auto._report import verdict_of  # noqa: PLC0415 - rich and others, for readers only

        return verdict_of(self._home)

    def statistics(self) -> AutoPoolStatistics:
        """Return what the pool has done and holds, by engine."""
        return AutoPoolStatistics(
            engines={
                engine: pool.statistics()
                for engine, pool in self._home.stable.all()
                if hasattr(pool, "statistics")
            },
            decisions=self._home.history.count,
            engine=None if self._home.latest is None else self._home.latest.engine,
        )

    def history(self) -> tuple[Decision, ...]:
        """Return the pool's decisions, the oldest first."""
        return self._home.history.all()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - as the standard one
        """Take no more tasks; workers leave when those handed in have ended.

        Args:
            wait: Whether to return only then.
            cancel_futures: Whether to cancel tasks that have not started.
        """
        self._is_closed = True
        for course in tuple(self._courses):
            if cancel_futures:
                course.cancel()
            else:
                course.hand_in_all()
        self._tasks.close(wait=wait, cancel_futures=cancel_futures)
        self._home.stable.close(wait=wait, cancel_futures=cancel_futures)
        self._finalizer.finish()

    def _refuse_closed(self) -> None:
        if self._is_closed:
            msg = "cannot schedule new futures after shutdown"
            raise RuntimeError(msg)

    def _end_now(self) -> None:
        self._is_closed = True
        for course in tuple(self._courses):
            course.abandon()
        self._home.stable.end_now()
        self._finalizer.finish()


class _Ending(Ending):
    """Hands in at exit what a map was to hand in, before the pools that it goes to are joined; and ends the scout."""

    def __init__(self, home: Home, courses: Living[Course[Any]]) -> None:
        self._home, self._courses = home, courses

    def end_at_exit(self, *, interrupted: bool) -> None:
        for course in tuple(self._courses):
            if interrupted:
                course.cancel()
            else:
                course.hand_in_all()
        if interrupted:
            self._home.stable.end_now()
        self._home.close(_SCOUT_SECONDS)


def _abandon(home: Home, ending: Ending) -> None:
    """End what belongs to a pool that nobody holds any more: what was handed in is run."""
    ending.forget()
    home.close()


def _check_engines(engine: str, engines: Collection[EngineName] | None) -> tuple[EngineName, ...]:
    for name in (*(engines or ()), *(() if engine == "auto" else (engine,))):
        if name not in ENGINE_NAMES:
            msg = f"unknown engine {name!r}: there are auto, {', '.join(ENGINE_NAMES)}"
            raise ValueError(msg)
    if engine != "auto":
        return tuple(name for name in ENGINE_NAMES if name == engine)
    if engines is not None and not engines:
        msg = "engines must name at least one engine, or be None for all"
        raise ValueError(msg)
    return tuple(name for name in ENGINE_NAMES if engines is not None and name in engines)
