"""`map` for pools that take one task at a time: lazy, with back-pressure, ordered or as results arrive.

Items are taken from their iterators in the thread that reads the results, when it asks for one. A task that ends puts
its future into a queue, which is one call of C; the reader counts there how many are under way.
"""

from __future__ import annotations

import contextlib
import math
import sys
import time
import warnings
from concurrent import futures
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from whichever import _core
from whichever.executors._exit import SLICE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from typing import Self

    from whichever.executors._face import MapPlan, Rules
    from whichever.executors._future import Future

T = TypeVar("T")

_EAGER_TASKS = 100_000  # items that are taken from a collection without waiting for results
_AHEAD_LEAST = 4  # tasks for each worker that are taken from a generator ahead of their results
_AHEAD_MOST = 16_384  # tasks: their items and results take memory
_SOON_SECONDS = 0.005  # items that are taken more often than this are too few: each time workers may run dry
_SLOW_SECONDS = 0.001  # spent on taking items while a result is there: then that goes first


class Submit(Protocol):
    """How a pool takes a task."""

    def __call__(self, rules: Rules, fn: Callable[..., T], args: Any, kwargs: Any, /) -> Future[T]:
        """Hand in a task."""


def results_of(submit: Submit, plan: MapPlan[T], workers: int) -> Iterator[T]:
    """Hand in the first tasks of `plan` now; return an iterator over the results of all."""
    deadline = None if plan.timeout is None else time.monotonic() + plan.timeout
    flight = _Flight(submit, plan, workers)
    try:
        flight.fill()
    except BaseException:
        flight.abandon()
        raise
    return _Results(flight, deadline)


class _Results(Generic[T]):
    """An iterator over results. It is dropped in the middle by who wants no more tasks to be run.

    Who drops it unread (``pool.map(save, items)``, and no more) wants the tasks and no results.
    """

    def __init__(self, flight: _Flight[T], deadline: float | None) -> None:
        self._flight = flight
        self._results = _read(flight, deadline)
        self._unread = _core.Finalizer(leave_unread, flight)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        self._unread.detach()
        return next(self._results)

    def hand_in_all(self) -> None:
        """Take all items now, however many, and hand them in."""
        self._flight.fill_all()

    def leave(self) -> None:
        """Take no more items; those that were are run, and nobody will read what they give."""
        self._unread.detach()
        self._flight.leave()

    def close(self) -> None:
        """Give up what has not been taken: tasks that have not started never will."""
        self._unread.detach()
        self._results.close()
        self._flight.abandon()


def _read(flight: _Flight[T], deadline: float | None) -> Generator[T, None, None]:
    try:
        while flight.has_more():
            yield flight.next_result(deadline)
    finally:
        flight.abandon()


class _Flight(Generic[T]):
    """The tasks of one `map` that were handed in and whose results were not taken."""

    def __init__(self, submit: Submit, plan: MapPlan[T], workers: int) -> None:
        self._submit, self._plan = submit, plan
        self._items: Iterator[tuple[Any, ...]] | None = zip(*plan.iterables, strict=False)
        self._futures: dict[Future[T], None] = {}  # in the order of their items
        self._ended: SimpleQueue[Future[T]] = SimpleQueue()
        self._open = 0  # tasks whose end was not taken from the queue
        self._watches = not (plan.eager and plan.ordered)
        self._most = plan.buffersize or (_EAGER_TASKS if plan.eager else _AHEAD_LEAST * workers)
        self._grows = not (plan.eager or plan.buffersize)
        self._waited = False
        self._filled = -math.inf  # when items were last taken

    def has_more(self) -> bool:
        """Say whether there is a result to come."""
        if not self._futures:
            self.fill()
        return bool(self._futures)

    def next_result(self, deadline: float | None) -> T:
        """Return the next result once it is there.

        Raises:
            TimeoutError: The deadline has passed.
        """
        future = self._take_ordered(deadline) if self._plan.ordered else self._take_any(deadline)
        try:
            del self._futures[future]
            self.fill()
            result: T = future.result()
            return result
        finally:
            del future  # an error's traceback holds this frame

    def _take_ordered(self, deadline: float | None) -> Future[T]:
        head = next(iter(self._futures))
        while not head.done():
            self._waited = True
            if self._watches:
                self._await_any(deadline)
                self.fill()  # while one task takes long, others end: their places are filled
                continue
            try:
                head.exception(_left(deadline))
            except futures.CancelledError:
                break
        return head

    def _take_any(self, deadline: float | None) -> Future[T]:
        self._waited |= self._ended.empty()
        return self._await_any(deadline)

    def _await_any(self, deadline: float | None) -> Future[T]:
        while True:
            left = _left(deadline)
            try:
                future = self._ended.get(timeout=SLICE_SECONDS if left is None else min(left, SLICE_SECONDS))
                break
            except Empty:
                if left is not None and left <= SLICE_SECONDS:
                    raise TimeoutError from None
        self._open -= 1
        return future

    def fill(self) -> None:
        """Take items and hand them in until enough are ahead."""
        if self._watches and self._plan.ordered:
            for _ in range(self._ended.qsize()):
                self._await_any(None)
        if self._items is None or self._ahead() > self._most // 2:
            return
        begun = time.monotonic()
        self._grow(begun)
        while self._ahead() < self._most:
            arguments = next(self._items, None)
            if arguments is None:
                self._items = None
                return
            future = self._submit(self._plan.rules, self._plan.fn, arguments, {})
            self._futures[future] = None
            if self._watches:
                self._open += 1
                future.add_done_callback(self._ended.put)
                if self._has_result() and time.monotonic() - begun > _SLOW_SECONDS:
                    return

    def fill_all(self) -> None:
        """Take all items and hand them in."""
        most, self._most = self._most, sys.maxsize
        self.fill()
        self._most = most

    def _ahead(self) -> int:
        """Return how many tasks count as ahead.

        What has ended and waits for its turn keeps no worker busy. What waits for the reader must not pile up.
        """
        if not self._grows or len(self._futures) >= _AHEAD_MOST or self._has_result():
            return len(self._futures)
        return self._open

    def _grow(self, now: float) -> None:
        """Take more ahead if the reader had to wait and yet is back so soon: these tasks are short."""
        if self._grows and self._waited and now - self._filled < _SOON_SECONDS:
            self._most = min(self._most * 2, _AHEAD_MOST)
        self._waited, self._filled = False, now

    def _has_result(self) -> bool:
        if not self._plan.ordered:
            return not self._ended.empty()
        return bool(self._futures) and next(iter(self._futures)).done()

    def leave(self) -> bool:
        """Hand in what is left of collections; results go nowhere. False when items of generators are left."""
        if self._plan.eager:
            self._most = sys.maxsize
            with contextlib.suppress(RuntimeError):  # the pool was shut down
                self.fill()
        self._futures.clear()
        items, self._items = self._items, None
        return items is None

    def abandon(self) -> None:
        """Take no more items; cancel what has not started."""
        self._items = None
        while self._futures:
            future, _ = self._futures.popitem()
            if not future.running():
                future.cancel()


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(deadline - time.monotonic(), 0.0)


class Leaves(Protocol):
    """The course of a map whose results nobody will read."""

    def leave(self) -> bool:
        """Hand in what is left; False when that is not all."""


def leave_unread(map_: Leaves) -> None:
    """Run the rest of a map that was dropped unread, or say that it is not run."""
    if not map_.leave():
        warn_unread()


def warn_unread() -> None:
    """Warn of tasks that would be lost in silence."""
    msg = (
        "map() was dropped before its results were read, and its items are taken as results are: the rest of them is "
        "not run; read the results, or pass a list"
    )
    warnings.warn(msg, RuntimeWarning, stacklevel=3)
