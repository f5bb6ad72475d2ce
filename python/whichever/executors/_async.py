"""The async engine: one event loop, a bounded number of coroutines in flight.

It does not stand on `AsyncPool`, whose loop has a thread of its own: to hand each task over to another thread and its
result back costs more than the loop itself takes for it, and whoever waits for an engine has nothing else to do.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

from whichever.errors import EngineError, EngineUnavailableError
from whichever.executors._contract import Engine, Outcome
from whichever.executors._coroutines import is_coroutine_function
from whichever.executors._feed import WAKE_SECONDS, Feed

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

_CANCEL_SECONDS = 0.3  # for cancelled coroutines to clean up before they are left behind


class AsyncEngine(Engine):
    """One loop for the engine's life, run in the caller's thread, or beside it if that runs a loop."""

    name = "async"
    _loop: asyncio.AbstractEventLoop | None = None

    @classmethod
    def unavailable(cls, fn: Callable[..., Any] | None = None) -> str | None:
        """Say so when `fn` is not a coroutine function: nothing in it would ever give way."""
        if fn is None or is_coroutine_function(fn):
            return None
        return f"{getattr(fn, '__qualname__', fn)} is not a coroutine function (async def)"

    def open(self) -> None:
        """Make the loop."""
        self._loop = self._loop or asyncio.new_event_loop()

    def run(
        self,
        fn: Callable[[Any], Any],
        items: Iterable[Any],
        *,
        chunksize: int = 1,
        deadline: float | None = None,
    ) -> list[Outcome]:
        """Run the coroutines; KeyboardInterrupt is the caller's own here and ends the run."""
        if self._loop is None:
            msg = "the async engine is closed; open a new one"
            raise EngineError(msg)
        if reason := self.unavailable(fn):
            raise EngineUnavailableError(reason)
        del chunksize  # nothing is sent, so nothing is gained by sending more at once
        feed = Feed(items, deadline=deadline)
        flight = _Flight(self._loop, fn, feed, self.workers)
        try:
            self._drive(self._loop, flight)
        except BaseException:
            self.close(kill=True)
            raise
        feed.finish()
        return sorted(flight.outcomes, key=lambda outcome: outcome.index)

    @staticmethod
    def _drive(loop: asyncio.AbstractEventLoop, flight: _Flight) -> None:
        if _running_loop() is None:
            try:
                loop.run_until_complete(flight.land())
            except BaseException:
                flight.stop()
                loop.run_until_complete(flight.settle())
                raise
            return
        helper = _Helper(loop, flight.land())
        try:
            helper.wait()
        except BaseException:
            loop.call_soon_threadsafe(flight.stop)
            helper.join(_CANCEL_SECONDS)
            raise

    def close(self, *, kill: bool = False) -> None:  # noqa: ARG002 - no coroutine outlives run()
        """Close the loop, unless a coroutine that holds it captive on a helper thread is still in it."""
        loop, self._loop = self._loop, None
        if loop is None or loop.is_running():
            return
        if _running_loop() is None:
            loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


class _Flight:
    """The coroutines of one run: as one lands, the next item starts."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, fn: Callable[[Any], Any], feed: Feed, limit: int
    ) -> None:
        self._loop, self._fn, self._feed, self._limit = loop, fn, feed, limit
        self._tasks: set[asyncio.Task[None]] = set()
        self._landed = loop.create_future()
        self._stopped = False
        self.outcomes: list[Outcome] = []

    async def land(self) -> None:
        """Start the first coroutines and return when the last one is done."""
        while len(self._tasks) < self._limit and self._start():
            pass
        if self._tasks:
            await self._landed

    def _start(self) -> bool:
        batch = [] if self._stopped else self._feed.take()
        for index, item in batch:
            task = self._loop.create_task(self._one(index, item))
            self._tasks.add(task)
            task.add_done_callback(self._next)
        return bool(batch)

    def _next(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # seen: KeyboardInterrupt has already left through the loop
        if not self._start() and not self._tasks and not self._landed.done():
            self._landed.set_result(None)

    async def _one(self, index: int, item: object) -> None:
        try:
            outcome = Outcome(index, await self._fn(item))
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            if self._stopped:
                raise
            outcome = Outcome(index, error=error)
        self.outcomes.append(outcome)

    def stop(self) -> None:
        """Start nothing more and cancel what is in flight."""
        self._stopped = True
        for task in tuple(self._tasks):
            task.cancel()
        if not self._tasks and not self._landed.done():
            self._landed.set_result(None)

    async def settle(self) -> None:
        """Give cancelled coroutines a moment to clean up."""
        if self._tasks:
            await asyncio.wait(tuple(self._tasks), timeout=_CANCEL_SECONDS)


class _Helper(threading.Thread):
    """Runs the loop while the caller's thread, busy with a loop of its own, waits."""

    def __init__(self, loop: asyncio.AbstractEventLoop, main: Coroutine[Any, Any, None]) -> None:
        super().__init__(name="whichever-async", daemon=True)
        self._loop, self._main = loop, main
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        """Run the loop; what it raises goes to the waiting caller."""
        try:
            self._loop.run_until_complete(self._main)
        except BaseException as error:  # noqa: BLE001 - KeyboardInterrupt raised by a task, too
            self._error = error

    def wait(self) -> None:
        """Wait for the end of the run."""
        while self.is_alive():
            self.join(WAKE_SECONDS)
        if self._error is not None:
            raise self._error
