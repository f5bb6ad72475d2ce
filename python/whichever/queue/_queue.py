"""The queues' public classes: a native half, and here what asyncio and pickle need."""

from __future__ import annotations

import asyncio
import math
import weakref
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from whichever import _core
from whichever._types import QueueStatistics
from whichever.errors import QueueClosed
from whichever.queue._tasks import NOTHING, LoopTasks

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

T = TypeVar("T")

_open: weakref.WeakValueDictionary[int, Queue[Any]] = weakref.WeakValueDictionary()
"""The shared queues of this process, by their key: one object for each, however often it arrives."""


class _AnyQueue(_core.QueueCore, Generic[T]):
    """What all queues have in common."""

    def __init__(self, maxsize: float = 0) -> None:
        if maxsize:
            self.maxsize = math.ceil(maxsize)
        self._loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, LoopTasks] = (
            weakref.WeakKeyDictionary()
        )

    if TYPE_CHECKING:

        def put(self, item: T, block: bool = True, timeout: float | None = None) -> None: ...
        def get(self, block: bool = True, timeout: float | None = None) -> T: ...
        def put_nowait(self, item: T) -> None: ...
        def get_nowait(self) -> T: ...
        def __next__(self) -> T: ...
        async def aput(self, item: T) -> None: ...
        async def aget(self) -> T: ...
        async def __anext__(self) -> T: ...

    async def _aput(self, item: T) -> None:
        """Do what `aput` does, where it could not be done at the first look."""
        if not self._offer(item):
            await self._tasks().put(item)

    async def _aget(self) -> T:
        """Do what `aget` does, where it could not be done at the first look."""
        item: T = self._take(NOTHING)
        if item is NOTHING:
            item = await self._tasks().get()
        return item

    async def _anext(self) -> T:
        """Do what `async for` asks for, where it could not be done at the first look."""
        try:
            return await self._aget()
        except QueueClosed:
            raise StopAsyncIteration from None

    async def ajoin(self) -> None:
        """Wait, as a task, until every item that was put is dealt with (``task_done``)."""
        if self.unfinished_tasks:
            await self._tasks().join()

    def close(self) -> None:
        """Take nothing more.

        What is in the queue can still be got; then iterators end, and ``get`` raises `QueueClosed`. Who waits for a
        place is refused at once. Closing twice does nothing.
        """
        self.shutdown()

    @property
    def closed(self) -> bool:
        """Whether the queue takes nothing more."""
        return self.is_shutdown

    def statistics(self) -> QueueStatistics:
        """Say what the queue holds, and what was done with it, here and in other processes."""
        return QueueStatistics(maxsize=self.maxsize, **self._counts())

    def __enter__(self) -> Self:
        """Return the queue, which is closed at the end of the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        counts = self._counts()
        state = ", closed" if counts["closed"] else ""
        of = f" of {self.maxsize}" if self.maxsize > 0 else ""
        return f"<{type(self).__name__} at {id(self):#x}: {counts['size']}{of} items{state}>"

    def __copy__(self) -> Self:
        """Refuse: what is put into a copy would reach nobody."""
        msg = f"a {type(self).__name__} cannot be copied; hand on the queue itself"
        raise TypeError(msg)

    def __deepcopy__(self, _memo: object) -> Self:
        """Refuse, as `__copy__` does."""
        return self.__copy__()

    def _tasks(self) -> LoopTasks:
        loop = asyncio.get_running_loop()
        tasks = self._loops.get(loop)
        if tasks is None:
            tasks = self._loops[loop] = LoopTasks(self, loop)
        return tasks


class Queue(_AnyQueue[T]):
    """A first-in, first-out queue for threads, asyncio tasks and processes, all at once.

    A drop-in for ``queue.Queue``. In one process items pass by reference. It becomes shared when it first goes to
    another process, as an argument of a `ProcessPool`'s task or of a ``multiprocessing.Process``: what is in it moves
    to shared memory, and from then on each item is pickled, in this process too.

    Args:
        maxsize: The most items; more have to wait (back-pressure). 0 or less for no limit, which is only right where
            producers cannot run ahead of consumers for long.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        """Move to shared memory, and tell the other process where that is."""
        address = self._cross()
        _open[address[-1]] = self
        return arrive, (type(self), address)


class LifoQueue(_AnyQueue[T]):
    """A queue that gives the latest item first. Otherwise as `Queue`, but it stays in its process.

    Args:
        maxsize: The most items; 0 or less for no limit.
    """

    _ORDER: ClassVar[str] = "lifo"

    def __reduce__(self) -> tuple[Any, ...]:
        """Refuse: only a plain `Queue` can go to another process."""
        return _refuse(self)


class PriorityQueue(_AnyQueue[T]):
    """A queue that gives the smallest item first. Otherwise as `Queue`, but it stays in its process.

    Items are compared when they are put and got; an item whose comparison raises is not put.

    Args:
        maxsize: The most items; 0 or less for no limit.
    """

    _ORDER: ClassVar[str] = "smallest"

    def __reduce__(self) -> tuple[Any, ...]:
        """Refuse: only a plain `Queue` can go to another process."""
        return _refuse(self)


def arrive(kind: type[Queue[T]], address: tuple[int, int, int, int]) -> Queue[T]:
    """Return the queue at an address, which another process has sent."""
    known = _open.get(address[-1])
    if known is not None:
        known._arrived()  # noqa: SLF001 - the same class
        return known
    queue = kind.__new__(kind)
    _AnyQueue.__init__(queue)
    queue._adopt(address)  # noqa: SLF001
    return _open.setdefault(address[-1], queue)


def _refuse(queue: _AnyQueue[Any]) -> tuple[Any, ...]:
    msg = f"a {type(queue).__name__} stays in its process; only a plain Queue can go to another one"
    raise TypeError(msg)
