"""What `map` of an auto pool returns: an iterator, and what becomes of it when nobody reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from whichever import _core
from whichever.executors._mapping import leave_unread

if TYPE_CHECKING:
    from collections.abc import Iterator

    from whichever.auto._course import Course

T = TypeVar("T")


class Results(Generic[T]):
    """What `map` returns: an iterator, and quick to those who iterate over it whole."""

    def __init__(self, course: Course[T]) -> None:
        self._course = course
        self._unread = _core.Finalizer(leave_unread, course)
        self._results = course.read(self._unread)

    @property
    def engine(self) -> str:
        """What runs the tasks now, for readers; may be asked by any thread."""
        return self._course.engine

    def __iter__(self) -> Iterator[T]:
        return self._results

    def __next__(self) -> T:
        return next(self._results)

    def close(self) -> None:
        """Give up what has not been taken: tasks that have not started never will."""
        self._unread.detach()
        self._results.close()
        self._course.abandon()
