"""Runs tasks on workers that are reached by messages over a socket.

The caller's thread does everything itself while it waits: it sends batches, takes replies, sees workers die.
No helper thread, queue or semaphore stands between, so Ctrl-C finds nothing to clean up but the workers.
"""

from __future__ import annotations

import selectors
from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from whichever.errors import EngineError, EngineUnavailableError
from whichever.executors._boot import search_path
from whichever.executors._contract import Engine, Outcome
from whichever.executors._courier import Courier, LostWorkerError
from whichever.executors._feed import WAKE_SECONDS, Feed
from whichever.executors._imports import running_modules
from whichever.executors._letter import refuse_function, write_letter
from whichever.executors._remote.payload import dump, is_plain, load, read_error
from whichever.executors._remote.worker import OK, RUN, TASKS, UNLOADABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence


class RemoteTraceback(Exception):  # noqa: N818 - it is not raised, it explains another one as its cause
    """The traceback of a task in another interpreter, as text."""

    def __str__(self) -> str:
        return f"\n{self.args[0].rstrip()}\n"


class MessagingEngine(Engine):
    """Sends batches to couriers; subclasses start and stop the workers behind them."""

    def __init__(self, workers: int, *, modules: Sequence[str] = ()) -> None:
        super().__init__(workers, modules=modules)
        self._couriers: list[Courier] = []
        self._runs = 0

    @classmethod
    def unavailable(cls, fn: Callable[..., Any] | None = None) -> str | None:
        """Refuse coroutine functions and what cloudpickle cannot pickle either."""
        if fn is None:
            return None
        return refuse_function(fn, cls.name, dump)

    def run(
        self,
        fn: Callable[[Any], Any],
        items: Iterable[Any],
        *,
        chunksize: int = 1,
        deadline: float | None = None,
    ) -> list[Outcome]:
        """Run the tasks; the function is pickled once, an item when it is about to start."""
        if not self._couriers:
            msg = f"the {self.name} engine is closed; open a new one"
            raise EngineError(msg)
        by_value = running_modules()
        letter = write_letter(fn, self.name, dump, by_value)
        feed = Feed(items, chunksize, deadline)
        self._runs += 1
        meta = dump((RUN, deadline, by_value, search_path()))
        exchange = _Exchange(feed, letter, meta, self._runs)
        try:
            exchange.carry_out(self._couriers)
        except LostWorkerError as lost:
            error = EngineError(self._describe_loss(lost.courier))
            self.close(kill=True)
            raise error from None
        except BaseException:
            self.close(kill=True)
            raise
        feed.finish()
        return sorted(exchange.outcomes, key=lambda outcome: outcome.index)

    @abstractmethod
    def _describe_loss(self, courier: Courier) -> str:
        """Say which worker ended and how."""

    def _await_ready(self) -> dict[str, str]:
        """Wait for every worker's first message; return the modules that did not load, with the error."""
        failed: dict[str, str] = {}
        with _watch(self._couriers) as selector:
            waiting = set(self._couriers)
            while waiting:
                for courier in _readable(selector):
                    if (reply := courier.read()) is not None:
                        failed |= reply[0][0]
                        waiting.discard(courier)
        return failed


def _watch(couriers: list[Courier]) -> selectors.BaseSelector:
    selector = selectors.DefaultSelector()
    for courier in couriers:
        selector.register(courier, selectors.EVENT_READ, courier)
    return selector


def _readable(selector: selectors.BaseSelector) -> list[Courier]:
    """Wait a while; return the couriers with something to read, after writing on those that have room."""
    found: list[Courier] = []
    for key, events in selector.select(WAKE_SECONDS):
        courier: Courier = key.data
        if events & selectors.EVENT_WRITE:
            courier.write()
        if events & selectors.EVENT_READ:
            found.append(courier)
    return found


class _Exchange:
    """One run's messages, to and fro."""

    def __init__(self, feed: Feed, letter: bytes, meta: bytes, run: int) -> None:
        self._feed, self._letter, self._meta, self._run = feed, letter, meta, run
        self._writing: set[Courier] = set()
        self.outcomes: list[Outcome] = []

    def carry_out(self, couriers: list[Courier]) -> None:
        """Send batches while there are any and wait for every reply."""
        with _watch(couriers) as selector:
            for courier in couriers:
                self._supply(courier, selector)
            while any(courier.under_way for courier in couriers):
                for courier in _readable(selector):
                    while (reply := courier.read()) is not None:
                        self._take(courier, *reply)
                for courier in couriers:
                    self._supply(courier, selector)

    def _supply(self, courier: Courier, selector: selectors.BaseSelector) -> None:
        while courier.wants_work and self._send_batch(courier):
            pass
        if courier.wants_to_write != (courier in self._writing):
            self._writing ^= {courier}
            extra = selectors.EVENT_WRITE if courier.wants_to_write else 0
            selector.modify(courier, selectors.EVENT_READ | extra, courier)

    def _send_batch(self, courier: Courier) -> bool:
        batch = self._feed.take()
        if not batch:
            return False
        indexes, blobs, bulk = self._pack(batch)
        if indexes:
            self._introduce(courier)
            courier.under_way.append(indexes)
            courier.post([dump((TASKS, bulk)), *blobs])
        return True

    def _introduce(self, courier: Courier) -> None:
        """Tell a worker of this run before its first batch; send the function if it has another one."""
        if courier.run != self._run:
            courier.run = self._run
            news = [] if courier.letter == self._letter else [self._letter]
            courier.letter = self._letter
            courier.post([self._meta, *news])

    def _pack(self, batch: list[tuple[int, Any]]) -> tuple[list[int], list[bytes], bool]:
        items = [item for _, item in batch]
        if is_plain(items):
            return [index for index, _ in batch], [dump(items)], True
        indexes, blobs = [], []
        for index, item in batch:
            try:
                blobs.append(dump(item))
            except Exception as error:  # noqa: BLE001 - the item's own code runs here and may raise anything
                self.outcomes.append(Outcome(index, error=error))
            else:
                indexes.append(index)
        return indexes, blobs, False

    def _take(self, courier: Courier, meta: list[Any], blobs: list[memoryview]) -> None:
        if meta[0] == UNLOADABLE:
            error = load_error(blobs[0])
            msg = f"a worker could not load the function: {type(error).__name__}: {error}"
            raise EngineUnavailableError(msg) from error
        _, flags, bulk, seconds = meta
        courier.note_seconds(seconds)
        indexes = courier.under_way.popleft()
        values = load(blobs[0]) if bulk else blobs
        for index, flag, value in zip(indexes, flags, values, strict=False):  # late tasks have no flag
            self.outcomes.append(_outcome(index, flag, value, loaded=bulk))


def _outcome(index: int, flag: int, value: Any, *, loaded: bool) -> Outcome:
    if loaded:
        return Outcome(index, value)
    if flag != OK:
        return Outcome(index, error=load_error(value))
    try:
        return Outcome(index, load(value))
    except Exception as error:  # noqa: BLE001 - the result's own code runs here and may raise anything
        return Outcome(index, error=error)


def load_error(blob: memoryview) -> BaseException:
    """Return the task's exception, or a RuntimeError with its text; the far traceback is its cause."""
    found, kind, text, trace = read_error(blob)
    error = RuntimeError(f"{kind}: {text}") if found is None else found
    error.__cause__ = RemoteTraceback(trace)
    return error
