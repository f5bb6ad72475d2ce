"""What all pools have in common: the face of an executor, `map` on top of `submit`, and how a pool is left.

A pool says how it takes one task (`_submit`) and how it ends at once (`_end_now`); it may have a way of its own to run
many (`_results`). Its rules (seconds a task may run, and how often it is run again) travel with each task, so that
`options` is a view of a pool and no pool.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sized
from concurrent import futures
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NoReturn, ParamSpec, TypeVar

from whichever.executors._mapping import results_of
from whichever.executors._progress import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import TracebackType

    from whichever.executors._future import Future

P = ParamSpec("P")
T = TypeVar("T")

Rules = tuple[float | None, int]
"""Seconds that a task may run, None without a limit; and how often it is run again whose worker died."""
NO_RULES: Rules = (None, 0)


@dataclass(frozen=True, slots=True)
class MapPlan(Generic[T]):
    """What `map` was asked for, checked.

    Attributes:
        fn: The task.
        iterables: Where its arguments come from.
        rules: Those of each task.
        timeout: Seconds from now until the last result must have been taken.
        chunksize: Tasks that may go to a worker together; None to leave it to the pool.
        buffersize: Most items taken ahead of the results; None to leave it to the pool.
        ordered: Whether results come in the items' order.
        eager: Whether the items are there already, so that all may be handed in at once.
    """

    fn: Callable[..., T]
    iterables: tuple[Iterable[Any], ...]
    rules: Rules
    timeout: float | None
    chunksize: int | None
    buffersize: int | None
    ordered: bool
    eager: bool


class MapFace(futures.Executor, ABC):
    """An executor with our `map`: a pool, or a view of one."""

    _rules: Rules = NO_RULES

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
        the workers busy. A task that raises ends the iterator in its place. Of an iterator that is dropped before
        its end, what has not started is not run; if no result was ever asked of it, all that was handed in is.

        Args:
            fn: The task.
            iterables: Where its arguments come from; the shortest ends it.
            timeout: Seconds from now until the last result must have been taken.
            chunksize: Tasks that a worker may always hold, where they are sent to one (processes, interpreters);
                None to let their run time decide.
            buffersize: Most items taken ahead of the results; None to let their kind and run time decide.
            ordered: Whether results come in the items' order, or as they arrive.
            progress: Whether to show how far it is, on a terminal or in a notebook.

        Raises:
            TimeoutError: From the iterator: the time was over.
            ValueError: A size is below 1.
        """
        _check_sizes(timeout, chunksize, buffersize)
        lengths = [len(items) for items in iterables if isinstance(items, Sized)]
        eager = buffersize is None and len(lengths) == len(iterables)
        results = self._results(
            MapPlan(fn, iterables, self._rules, timeout, chunksize, buffersize, ordered, eager)
        )
        if not progress:
            return results
        return shown(results, min(lengths, default=None), partial(self._label, results))

    @abstractmethod
    def _results(self, plan: MapPlan[T]) -> Iterator[T]:
        """Hand in what may be handed in at once; return the results."""

    @abstractmethod
    def _label(self, results: Iterator[Any]) -> str:
        """Name the engine that runs the tasks of `results` now, for progress; called from other threads."""


class PoolFace(MapFace):
    """What every pool is."""

    _engine: ClassVar[str]

    def __init__(self, max_workers: int, rules: Rules = NO_RULES) -> None:
        check_rules(rules)
        self._max_workers = max_workers
        self._rules = rules

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Hand in a task: ``fn(*args, **kwargs)``.

        Raises:
            RuntimeError: The pool was shut down.
        """
        return self._submit(self._rules, fn, args, kwargs)

    @abstractmethod
    def _submit(self, rules: Rules, fn: Callable[..., T], args: Any, kwargs: Any) -> Future[T]:
        """Hand in a task under `rules`."""

    @abstractmethod
    def _end_now(self) -> None:
        """End the pool without waiting for tasks: what runs is stopped if it can be, what waits is dropped."""

    def _results(self, plan: MapPlan[T]) -> Iterator[T]:
        return results_of(self._submit, plan, self._max_workers)

    def _label(self, results: Iterator[Any]) -> str:
        del results  # one engine runs them all
        return f"{self._engine} x{self._max_workers}"

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

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        """Shut down; after Ctrl-C without waiting for tasks."""
        if kind is not None and not issubclass(kind, Exception):
            self._end_now()
        else:
            self.shutdown(wait=True)
        return None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} max_workers={self._max_workers}>"


class PoolOptions(MapFace):
    """A pool under other rules; see its `options`. It has no workers of its own and needs no shutdown."""

    def __init__(self, pool: PoolFace, rules: Rules) -> None:
        check_rules(rules)
        self._pool = pool
        self._rules = rules

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Hand in a task under these rules; see the pool's `submit`."""
        return self._pool._submit(self._rules, fn, args, kwargs)  # noqa: SLF001 - a view of it

    def _results(self, plan: MapPlan[T]) -> Iterator[T]:
        return self._pool._results(plan)  # noqa: SLF001 - a view of it

    def _label(self, results: Iterator[Any]) -> str:
        return self._pool._label(results)  # noqa: SLF001 - a view of it

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - as the standard one
        """Do nothing: the pool is shut down by whoever made it."""

    def __repr__(self) -> str:
        timeout, retries = self._rules
        return f"<{type(self).__name__} timeout={timeout} retries={retries} of {self._pool!r}>"


def check_workers(max_workers: int) -> int:
    """Return a number of workers that is one.

    Raises:
        ValueError: It is not above 0.
    """
    if max_workers <= 0:
        msg = "max_workers must be greater than 0"
        raise ValueError(msg)
    return max_workers


def check_initializer(initializer: object) -> None:
    """Refuse what cannot be called.

    Raises:
        TypeError: It is neither None nor callable.
    """
    if initializer is not None and not callable(initializer):
        msg = "initializer must be a callable"
        raise TypeError(msg)


def check_rules(rules: Rules) -> None:
    """Refuse rules that mean nothing.

    Raises:
        ValueError: The timeout is not above 0, or retries are below it.
    """
    timeout, retries = rules
    if timeout is not None and not timeout > 0:
        msg = f"timeout must be above 0 seconds, or None, not {timeout}"
        raise ValueError(msg)
    if retries < 0:
        msg = f"retries must be at least 0, not {retries}"
        raise ValueError(msg)


def _check_sizes(timeout: float | None, chunksize: int | None, buffersize: int | None) -> None:
    if timeout is not None and timeout != timeout:  # noqa: PLR0124 - NaN is the one number that is not itself
        msg = "timeout must be a number of seconds, not NaN"
        raise ValueError(msg)
    if chunksize is not None and chunksize < 1:
        msg = "chunksize must be >= 1."
        raise ValueError(msg)
    if buffersize is not None and not isinstance(buffersize, int):
        msg = "buffersize must be an integer or None"
        raise TypeError(msg)
    if buffersize is not None and buffersize < 1:
        msg = "buffersize must be None or > 0"
        raise ValueError(msg)
