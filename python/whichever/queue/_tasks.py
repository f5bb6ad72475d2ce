"""Tasks of one event loop that wait for one queue: they sleep as futures and are woken in batches.

The queue calls this loop at most once for all that has come since it was last called. Nothing is ever handed to a task
before it runs: it is woken and takes an item itself, so that cancelling it, at whatever moment, loses nothing. A task
that was woken and cannot use it (it was cancelled) lets the others look again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from whichever import _core

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

    async def until(self, want: Want, *, again: bool = False) -> None:
        """Wait until there may be what is wanted.

        Args:
            want: An item, a place, or the end of all items.
            again: The task has waited before, in vain: it goes to the front of the line.
        """
        line = self._lines.get(want)
        if line is None:
            line = self._lines[want] = _Line(self._queue, self._loop, want)
        await line.wait(again=again)


class _Line:
    """Who waits for one thing."""

    def __init__(self, queue: _core.QueueCore, loop: asyncio.AbstractEventLoop, want: Want) -> None:
        self._queue = queue
        self._loop = loop
        self._want = want
        self._sleepers: deque[asyncio.Future[None]] = deque()

    async def wait(self, *, again: bool) -> None:
        """Sleep until woken."""
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
