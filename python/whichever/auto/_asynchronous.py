"""What is awaited: `run`, one task; `amap`, a map read by a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from typing import TYPE_CHECKING, Any, TypeVar

from whichever.errors import QueueClosed
from whichever.queue import Queue

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator
    from concurrent.futures import Future

T = TypeVar("T")

_WAITING_MOST = 1024
"""Results that wait for their reader."""


async def outcome_of(future: Future[T]) -> T:
    """Await a future of a pool; who is cancelled meanwhile cancels it.

    A task that raised StopIteration raises RuntimeError here, as a coroutine that does: `asyncio.wrap_future` would
    never end.
    """
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()

    def tell(_: Future[T]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits any more
            loop.call_soon_threadsafe(ended.set)

    future.add_done_callback(tell)
    try:
        await ended.wait()
    except asyncio.CancelledError:
        future.cancel()
        raise
    if future.cancelled():
        raise asyncio.CancelledError
    return future.result()


async def results_of(read: Callable[[], Iterator[T]]) -> AsyncGenerator[T, None]:
    """Give what the iterator gives that `read` returns, called and read in a thread."""
    results: Queue[tuple[Any, BaseException | None]] = Queue(_WAITING_MOST)
    context = contextvars.copy_context()
    reader = threading.Thread(
        target=context.run, args=(_read, read, results), name="whichever-amap", daemon=True
    )
    reader.start()
    try:
        while True:
            try:
                value, error = await results.aget()
            except QueueClosed:
                return
            if error is not None:
                raise error
            yield value
    finally:
        results.close()  # the reader's next put ends it


def _read(read: Callable[[], Iterator[Any]], results: Queue[tuple[Any, BaseException | None]]) -> None:
    iterator = None
    try:
        iterator = read()
        for value in iterator:
            results.put((value, None))
    except QueueClosed:
        pass
    except BaseException as error:  # noqa: BLE001 - it is raised where the results are awaited
        with contextlib.suppress(QueueClosed):
            results.put((None, error))
    finally:
        close = getattr(iterator, "close", None)
        if close is not None:
            close()
        results.close()
