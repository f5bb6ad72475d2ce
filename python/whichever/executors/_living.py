"""Objects for as long as others keep them: a weak set whose members go without a line of Python.

`weakref.WeakSet` runs a callback when a member goes. A signal handler may run there, and what it raises is dropped: the
user's Ctrl-C would be lost.
"""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")

_FEW = 16


class Living(Generic[T]):
    """See the module. Any thread may use it."""

    def __init__(self) -> None:
        self._members: list[weakref.ref[T]] = []
        self._most = _FEW
        self._lock = threading.Lock()

    def add(self, member: T) -> None:
        """Add an object."""
        with self._lock:
            if len(self._members) >= self._most:
                self._members = [reference for reference in self._members if reference() is not None]
                self._most = max(2 * len(self._members), _FEW)
            self._members.append(weakref.ref(member))

    def __iter__(self) -> Iterator[T]:
        """Give the members that are alive."""
        for reference in tuple(self._members):
            if (member := reference()) is not None:
                yield member
