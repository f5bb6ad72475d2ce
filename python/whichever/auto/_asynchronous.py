"""`amap`: a map read by a thread of its own, its results awaited by a task."""

from __future__ import annotations

import contextlib
import contextvars
import threading
from typing import TYPE_CHECKING, Any, TypeVar

from whichever.errors import QueueClosed
from whichever.queue import Queue

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator

T = TypeVar("T")

_WAITING_MOST = 1024
"""Results that wait for their reader."""


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
