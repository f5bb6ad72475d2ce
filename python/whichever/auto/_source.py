"""Where a map's items come from: taken by its reader and by the scout, and given back where a run was cut."""

from __future__ import annotations

import itertools
import operator
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

_GUESSED = 1000
"""Items of an iterator that tells no length."""
_READY_SECONDS = 0.0005
_READY_MOST = 64
"""Of a generator, so many items are taken before the first task runs, if they come that fast."""
_NONE = object()


class Source:
    """See the module. The scout takes of a generator what is ready only, and never advances it.

    Args:
        iterables: Taken together; with more than one, an item is a tuple of arguments.
        eager: Whether all of them are collections.
        ahead: Most items that may be taken ahead of the results; None for no limit.
        is_scout: Says whether the calling thread is the scout's.
    """

    def __init__(
        self,
        iterables: Sequence[Iterable[Any]],
        *,
        eager: bool,
        ahead: int | None,
        is_scout: Callable[[], bool],
    ) -> None:
        self.star = len(iterables) != 1
        self.eager = eager
        self._items: Iterator[Any] | None = zip(*iterables, strict=False) if self.star else iter(iterables[0])
        self._back: deque[Any] = deque()
        self._lock = threading.Lock()
        self._is_scout = is_scout
        lengths = [operator.length_hint(items, -1) for items in iterables]
        self._length = min(lengths) if lengths and min(lengths) >= 0 else None
        self.given = 0
        self._is_at_end = False
        if not eager:
            self._prepare(_READY_MOST if ahead is None else min(ahead, _READY_MOST))

    def _prepare(self, most: int) -> None:
        """Take the first items of a generator, so that threads have some while the first task runs here."""
        end = time.monotonic() + _READY_SECONDS
        while len(self._back) < most and time.monotonic() < end:
            item = next(self._require(), _NONE)
            if item is _NONE:
                return
            self._back.append(item)

    def _require(self) -> Iterator[Any]:
        return iter(()) if self._items is None else self._items

    def take(self, count: int) -> list[Any]:
        """Take up to `count` items; none when there are none for this thread."""
        with self._lock:
            taken = [self._back.popleft() for _ in range(min(count, len(self._back)))]
            if len(taken) < count and (self.eager or not self._is_scout()):
                taken += itertools.islice(self._require(), count - len(taken))
                self._is_at_end = len(taken) < count
            self.given += len(taken)
            return taken

    def give_back(self, items: Sequence[Any]) -> None:
        """Put items back that were taken last and not run."""
        with self._lock:
            self._back.extendleft(reversed(items))
            self.given -= len(items)

    def has_more(self) -> bool:
        """Say whether there is an item for this thread."""
        taken = self.take(1)
        self.give_back(taken)
        return bool(taken)

    def left(self) -> int:
        """Return how many items are left, as far as is known."""
        if self._is_at_end or self._items is None:
            return len(self._back)
        if self._length is None:
            return max(_GUESSED, len(self._back))
        return max(self._length - self.given, 0)

    def drop(self) -> None:
        """Take no more items."""
        with self._lock:
            self._items = None
            self._back.clear()
