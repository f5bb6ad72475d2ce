"""How far an iterator over results is: shown on standard error while the results are read.

With tqdm where the program uses it, else with rich, or with whichever of the two is there; else in one line of text.
The results are counted by native code, and drawn from another thread a few times a second: each result costs some
nanoseconds, and what is shown goes on while a long task runs.
"""

from __future__ import annotations

import importlib
import itertools
import operator
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from contextlib import AbstractContextManager
    from typing import Self

T = TypeVar("T")

_DUMB = ("dumb", "unknown")  # terminals that cannot move the cursor up; a line of text can be written over


@dataclass(frozen=True, slots=True)
class Journey:
    """What is to be shown.

    Attributes:
        total: How many results there will be; None when nobody knows.
        count: Tells how many there have been.
        label: Tells what runs the tasks now. Called from other threads, several times a second.
    """

    total: int | None
    count: Callable[[], int]
    label: Callable[[], str]


def shown(results: Iterator[T], total: int | None, label: Callable[[], str]) -> Iterator[T]:
    """Return `results`, of which number, rate, time left and `label` are shown from the first one on.

    Nothing is shown where nobody looks: when standard error is neither a terminal nor a notebook.

    Args:
        results: Where they come from. What is done to the returned iterator (read, closed, dropped) is done to it.
        total: How many there will be; None when nobody knows.
        label: Tells what runs the tasks now; called from other threads, several times a second.
    """
    return _Shown(results, total, label) if _is_seen() else results


class _Shown(itertools.chain[T]):
    """Results that pass by. A chain of one link, for the speed of its `__next__`, which is native code."""

    _results: Iterator[T]
    _passing: Generator[T, None, None]

    def __new__(cls, results: Iterator[T], total: int | None, label: Callable[[], str]) -> Self:
        ticks = itertools.repeat(True, sys.maxsize)  # noqa: FBT003 - one is taken with each result
        journey = Journey(total, lambda: sys.maxsize - operator.length_hint(ticks), label)
        passing = _pass_by(results, ticks, journey)
        self = super().__new__(cls, passing)
        self._results, self._passing = results, passing
        return self

    def close(self) -> None:
        """Give up what has not been taken."""
        self._passing.close()
        _close(self._results)  # nothing has begun to pass if nothing was read


def _pass_by(results: Iterator[T], ticks: Iterator[bool], journey: Journey) -> Generator[T, None, None]:
    try:
        with _bar(journey):
            yield from itertools.compress(results, ticks)
    except GeneratorExit:
        _close(results)
        raise


def _close(results: Any) -> None:
    if hasattr(results, "close"):
        results.close()


def _is_seen() -> bool:
    """Say whether somebody looks at standard error."""
    try:
        is_terminal = sys.stderr.isatty()
    except (AttributeError, ValueError):  # None, or closed
        return False
    return is_terminal or _is_notebook()


def _is_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return hasattr(shell, "kernel")


def _bar(journey: Journey) -> AbstractContextManager[object]:
    """Return what shows the journey while it is entered."""
    rooms = ["_progress_rich", "_progress_tqdm"]
    if "tqdm" in sys.modules:
        rooms.reverse()
    if os.environ.get("TERM") in _DUMB:
        rooms.clear()
    for room in rooms:
        try:
            return _bar_of(room, journey)
        except ImportError:
            continue
    return _bar_of("_progress_line", journey)


def _bar_of(room: str, journey: Journey) -> AbstractContextManager[object]:
    bar: AbstractContextManager[object] = importlib.import_module(f"{__package__}.{room}").bar(journey)
    return bar
