"""Takes items from the caller's iterable, a few at a time, in the caller's thread."""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

WAKE_SECONDS = 0.2
"""How long the caller's thread waits at most before it looks up: a Ctrl-C that arrives just before a blocking call
does not end the call, and Python would see it only when the wait is over."""


class Feed:
    """The items of one run, in batches.

    Args:
        items: The caller's iterable; never taken further than what can start soon.
        chunksize: Items in a batch, at least 1.
        deadline: ``time.monotonic()`` value after which nothing more is taken.
    """

    def __init__(self, items: Iterable[Any], chunksize: int = 1, deadline: float | None = None) -> None:
        if chunksize < 1:
            msg = f"chunksize must be at least 1, not {chunksize}"
            raise ValueError(msg)
        self._items = iter(items)
        self._chunksize = chunksize
        self._deadline = deadline
        self._ended = False
        self._error: Exception | None = None
        self._taken = 0

    def late(self) -> bool:
        """Say whether the deadline has passed."""
        return self._deadline is not None and time.monotonic() >= self._deadline

    def __iter__(self) -> Iterator[Any]:
        """Give the items one by one, each taken when it is asked for, until there is none or it is too late."""
        while not self._ended and not self.late():
            try:
                item = next(self._items)
            except StopIteration:
                self._ended = True
            except Exception as error:  # noqa: BLE001 - the iterable's own; what was taken before it still runs
                self._error, self._ended = error, True
            else:
                yield item

    def take(self) -> list[tuple[int, Any]]:
        """Return the next batch of (index, item); empty when there is none or it is too late."""
        batch = list(enumerate(itertools.islice(self, self._chunksize), self._taken))
        self._taken += len(batch)
        return batch

    def finish(self) -> None:
        """Raise what the iterable raised, now that the items before it are done."""
        error, self._error = self._error, None
        if error is not None:
            try:
                raise error
            finally:
                del error  # its traceback holds this frame: without it, they would keep each other
