"""Hands out items to sample: from all over a sequence, from the front of anything else, never one too many.

What was not handed out is untouched: an iterator the caller passed in goes on where the feed stopped.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, cast

_GOLDEN = (math.sqrt(5) - 1) / 2
_COUNT_UNKNOWN = 1000
"""How many tasks the forecasts speak of when nobody says: enough for start-up not to matter."""


class Feed:
    """Items one by one, each with its position.

    Args:
        items: Any iterable. A sequence is taken from evenly spread positions, since its ends may differ (files
            sorted by size); everything else from the front.
        count: How many items there are, where the iterable does not know.

    Attributes:
        tasks: How many tasks there are in all, as far as known.
        guessed: Whether `tasks` is a guess: neither the iterable nor the caller said.
        exhausted: Whether all items have been handed out.
    """

    def __init__(self, items: Iterable[Any], count: int | None = None) -> None:
        if count is not None and count < 1:
            msg = f"count must be at least 1, not {count}"
            raise ValueError(msg)
        self._sequence: Sequence[Any] | None = cast("Sequence[Any]", items) if _is_sequence(items) else None
        self._iterator: Iterator[Any] | None = None if self._sequence is not None else iter(items)
        length = _length(items)
        known = length if count is None else count if length is None else min(count, length)
        self.guessed = known is None
        self.tasks = _COUNT_UNKNOWN if known is None else known
        self.exhausted = self.tasks == 0
        self._taken: set[int] = set()
        self._positions = _spread(self.tasks) if self._sequence is not None else None
        self._next = 0
        self._peeked: tuple[int, Any] | None = None

    def peek(self) -> tuple[int, Any] | None:
        """Look at what `take` gives next; for an iterator, that item has then left it."""
        if self._peeked is None:
            self._peeked = self.take()
        return self._peeked

    def take(self) -> tuple[int, Any] | None:
        """Hand out one more item with its position, or None when there is none left."""
        if self._peeked is not None:
            peeked, self._peeked = self._peeked, None
            return peeked
        if self.exhausted:
            return None
        if self._sequence is not None and self._positions is not None:
            return self._take_from(self._sequence, self._positions)
        return self._take_next()

    def all_items(self, taken: dict[int, Any]) -> list[Any]:
        """Give every item, for running all again: the whole sequence, or `taken` with what is left (bounded)."""
        if self._sequence is not None:
            return [self._sequence[position] for position in range(self.tasks)]
        items = [taken[position] for position in sorted(taken)]
        while not self.guessed and (more := self.take()) is not None:
            items.append(more[1])
        return items

    @property
    def consumes(self) -> bool:
        """Whether taking an item takes it away from the caller: an iterator's, not a sequence's."""
        return self._sequence is None

    def left(self) -> int:
        """Say how many items are still to be handed out, as far as known."""
        return 0 if self.exhausted else max(self.tasks - self._next, 0)

    def _take_from(self, sequence: Sequence[Any], positions: Iterator[int]) -> tuple[int, Any] | None:
        position = next(positions, None)
        self._next += 1
        self.exhausted = position is None or self._next >= self.tasks
        return None if position is None else (position, sequence[position])

    def _take_next(self) -> tuple[int, Any] | None:
        if not self.guessed and self._next >= self.tasks:
            self.exhausted = True
            return None
        assert self._iterator is not None  # noqa: S101 - one of the two sources is always there
        try:
            item = next(self._iterator)
        except StopIteration:
            self.exhausted = True
            self.guessed = False
            self.tasks = self._next
            return None
        position = self._next
        self._next += 1
        return position, item


def _is_sequence(items: object) -> bool:
    if isinstance(items, Sequence):
        return True
    array = hasattr(items, "__array_interface__") and hasattr(items, "__getitem__")
    return array and len(getattr(items, "shape", ())) > 0


def _length(items: object) -> int | None:
    try:
        return len(items)  # type: ignore[arg-type]
    except TypeError:
        hint = operator.length_hint(items, -1)
        return None if hint < 0 else hint


def _spread(length: int) -> Iterator[int]:
    """Give every position below `length` once, early ones far apart and in step with no short period.

    Steps of about the golden ratio of the length, by a number that shares no factor with it.
    """
    stride = max(round(length * _GOLDEN), 1)
    while math.gcd(stride, length) != 1:
        stride += 1
    return (k * stride % length for k in range(length))
