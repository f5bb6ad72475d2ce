"""`map` of an `InterpreterPool`: many tasks to a message, for a message costs as much as thousands of no-ops.

What is not sent yet waits here, so that it can be cancelled and its batches may grow: they are as long as some
milliseconds of work. A batch that takes much longer than that comes back unfinished, and its rest goes out again.
"""

from __future__ import annotations

import threading
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from whichever.executors._future import Future
from whichever.executors._imports import running_modules
from whichever.executors._remote import cargo, guest
from whichever.executors._remote.contexts import dump_context

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from concurrent import futures

    from whichever.executors._face import Rules
    from whichever.executors._interpreter_pool import Staff

T = TypeVar("T")

_BATCH_SECONDS = 0.005  # of work in a message: some thirty times what it costs
_LONGEST_SECONDS = 0.02  # then the results that are there come back
_MOST = 500  # tasks in a message
_GROWTH = 4  # times the last batch, at most: what came first may not be typical
_AHEAD = 2  # messages for each worker, so that it need not wait for the next


class ItemFuture(Future[T]):
    """The future of a task that travels with others; it is cancelled only while no interpreter has it."""

    def __init__(self, batches: Batches, letter: bytes) -> None:
        super().__init__()
        self.letter = letter
        self.is_dropped = False  # not to be sent any more
        self.sent: futures.Future[Any] | None = None  # of its batch, while that is under way
        self._batches = batches

    def cancel(self) -> bool:
        """Cancel the task if no interpreter runs its batch. False when one does."""
        return self._batches.drop(self)

    def running(self) -> bool:
        """Say whether an interpreter runs its batch."""
        sent = self.sent
        return sent is not None and sent.running() and not self.done()


class Batches:
    """The tasks of one `map`; calling it hands one in."""

    def __init__(self, staff: Staff, fn: Callable[..., Any], workers: int, chunksize: int | None) -> None:
        self._staff, self._workers = staff, workers
        self._fixed = chunksize is not None
        self._size = chunksize or 1
        self._by_value = running_modules()
        self._error: BaseException | None = None
        self._letter = self._context = b""
        self._lock = threading.Lock()  # of the next two
        self._waiting: deque[ItemFuture[Any]] = deque()
        self._under_way = 0
        try:
            self._letter, self._context = self._dump((fn, (), {})), dump_context(self._by_value)
        except Exception as error:  # noqa: BLE001 - a function of any kind that does not pickle fails its tasks
            error.add_note(guest.PICKLED)
            self._error = error

    def _dump(self, call: tuple[Any, ...]) -> bytes:
        return cargo.dump_whole((*call, self._by_value) if self._by_value else call, self._by_value)

    def __call__(self, rules: Rules, fn: Callable[..., T], args: Any, kwargs: Any, /) -> Future[T]:
        """Hand in a task.

        Raises:
            RuntimeError: The pool was shut down.
            PoolBrokenError: The initializer raised.
        """
        del rules, fn, kwargs  # a task cannot be stopped; the others are the map's
        if self._error is not None:
            return _failed(self._error)
        try:
            future: ItemFuture[T] = ItemFuture(self, cargo.dump_whole(args, self._by_value))
        except Exception as error:  # noqa: BLE001 - what an argument raises when pickled
            error.add_note(guest.PICKLED)
            return _failed(error)
        self._staff.take_in(future)
        with self._lock:
            self._waiting.append(future)
            has_room = self._under_way < _AHEAD * self._workers
        if has_room:
            self._send()
        return future

    def drop(self, future: ItemFuture[Any]) -> bool:
        """Cancel a task, unless an interpreter runs its batch; if that comes back unfinished, it is not sent again."""
        future.is_dropped = True
        sent = future.sent
        if sent is not None and not sent.cancel():  # its batch is back, as `_land` has it
            return future.cancelled()
        with self._lock:
            if future in self._waiting:
                self._waiting.remove(future)
        self._cancel((future,))
        return future.cancelled()

    def _cancel(self, dropped: Iterable[ItemFuture[Any]]) -> None:
        with self._lock:  # each is told once; nobody but the map listens to them
            told = [future for future in dropped if not future.done() and Future.cancel(future)]
        for future in told:
            future.set_running_or_notify_cancel()
        self._staff.let_go(dropped)

    def _send(self) -> None:
        """Send what there is room for."""
        while batch := self._next_batch():
            try:
                inner = self._staff.send(
                    self._letter, tuple(future.letter for future in batch), self._context, _LONGEST_SECONDS
                )
            except RuntimeError as error:
                self._end(batch, [(None, error)] * len(batch))
                continue
            for future in batch:
                future.sent = inner
            inner.add_done_callback(partial(self._land, batch))

    def _next_batch(self) -> list[ItemFuture[Any]]:
        batch: list[ItemFuture[Any]] = []
        dropped: list[ItemFuture[Any]] = []
        with self._lock:
            if self._under_way < _AHEAD * self._workers:
                # Towards the end there are fewer for each, so that no worker has much to do alone.
                fair = -(-len(self._waiting) // self._workers)
                size = self._size if self._fixed else min(self._size, fair)
                while self._waiting and len(batch) < size:
                    future = self._waiting.popleft()
                    (dropped if future.is_dropped else batch).append(future)
                self._under_way += bool(batch)
        self._cancel(dropped)
        return batch

    def _land(self, batch: list[ItemFuture[Any]], inner: futures.Future[Any]) -> None:
        """Settle what has come back, on the thread of the interpreter that ran it; send what did not run again."""
        for future in batch:
            future.sent = None
        if inner.cancelled():
            self._end([], [], rest=batch)
        elif (error := inner.exception()) is not None:
            self._end(batch, [self._staff.failed(error)] * len(batch))
        else:
            seconds, ended = inner.result()
            self._learn(seconds, len(ended))
            self._end(
                batch[: len(ended)],
                [self._staff.outcome(*each) for each in ended],
                rest=batch[len(ended) :],
            )
        self._send()

    def _learn(self, seconds: float, tasks: int) -> None:
        if self._fixed or tasks == 0:
            return
        fitting = int(_BATCH_SECONDS * tasks / seconds) if seconds > 0 else _MOST
        self._size = max(1, min(fitting, _GROWTH * self._size, _MOST))

    def _end(
        self,
        batch: list[ItemFuture[Any]],
        outcomes: list[tuple[Any, BaseException | None]],
        rest: Sequence[ItemFuture[Any]] = (),
    ) -> None:
        with self._lock:
            self._under_way -= 1
            self._waiting.extendleft(reversed(rest))
        for future, (value, error) in zip(batch, outcomes, strict=True):
            self._staff.settle(future, value, error)
        self._staff.let_go(batch)


def _failed(error: BaseException) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_exception(error)
    return future
