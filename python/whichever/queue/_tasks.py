"""Tasks of one event loop that wait for one queue: they sleep as futures and are woken in batches.

The queue calls this loop at most once for all that has come since it was last called. Nothing is ever handed to a task
before it runs: it is woken and takes an item itself, so that cancelling it, at whatever moment, loses nothing. A task
that was woken and cannot use it (it was cancelled) lets the others look again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from whichever import _core

NOTHING: Any = object()
"""Stands for an item that is not there."""
Want: TypeAlias = Literal["item", "place", "end"]


class LoopTasks:
    """The tasks of one loop that wait for one queue.

    Args:
        queue: The queue; it keeps this object while the loop lives.
        loop: The loop that all these tasks run on.
    """

    def __init__(self, queue: _core.QueueCore, loop: asyncio.AbstractEventLoop) -> None:
        self._queue = queue
        self._loop = loop
        self._lines: dict[Want, _Line] = {}

    async def get(self) -> Any:
        """Take an item out as soon as there is one, where there was none just now."""
        await self._line("item").wait(again=False)
        while (item := self._queue._take(NOTHING)) is NOTHING:  # noqa: SLF001 - its other half
            await self._line("item").wait(again=True)
        return item

    async def put(self, item: object) -> None:
        """Put an item as soon as there is a place, where there was none just now."""
        await self._line("place").wait(again=False)
        while not self._queue._offer(item):  # noqa: SLF001
            await self._line("place").wait(again=True)

    async def join(self) -> None:
        """Wait until all items are dealt with."""
        while self._queue.unfinished_tasks:
            await self._line("end").wait(again=False)

    def _line(self, want: Want) -> _Line:
        line = self._lines.get(want)
        if line is None:
            line = self._lines[want] = _Line(self._queue, self._loop, want)
        return line


class _Line:
    """Who waits for one thing."""

    def __init__(self, queue: _core.QueueCore, loop: asyncio.AbstractEventLoop, want: Want) -> None:
        self._queue = queue
        self._loop = loop
        self._want = want
        self._sleepers: deque[asyncio.Future[None]] = deque()

    async def wait(self, *, again: bool) -> None:
        """Sleep until there may be what is wanted; who has waited before, in vain, goes to the front of the line."""
        sleeper = self._loop.create_future()
        if again:
            self._sleepers.appendleft(sleeper)
        else:
            self._sleepers.append(sleeper)
        try:
            if not self._watch():
                self._look()
            await sleeper
        except BaseException:
            woken = sleeper.done() and not sleeper.cancelled()
            sleeper.cancel()
            if woken:  # and it is not going to use it
                self._look()
            else:
                with contextlib.suppress(ValueError):  # `_look` may have found it cancelled, and dropped it
                    self._sleepers.remove(sleeper)
            raise

    def _watch(self) -> bool:
        return self._queue._watch(self._want, id(self), self._ring)  # noqa: SLF001 - its other half

    def _ring(self) -> None:
        """Have the loop look; called in any thread."""
        if asyncio._get_running_loop() is self._loop:  # noqa: SLF001 - the documented one raises where none runs
            self._look()
            return
        try:
            self._loop.call_soon_threadsafe(self._look)
        except RuntimeError:
            self._sleepers.clear()  # the loop is closed, and so are its tasks

    def _look(self) -> None:
        """Wake as many as may find something; have the queue call again for the others."""
        while self._sleepers:
            ready = self._queue._ready(self._want)  # noqa: SLF001
            while ready and self._sleepers:
                sleeper = self._sleepers.popleft()
                if not sleeper.done():
                    sleeper.set_result(None)
                    ready -= 1
            if not self._sleepers or self._watch():
                return
