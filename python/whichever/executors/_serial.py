"""The serial engine: a plain loop in the caller's thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from whichever.executors._async import AsyncEngine
from whichever.executors._contract import Engine, Outcome
from whichever.executors._coroutines import is_coroutine_function
from whichever.executors._feed import Feed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class SerialEngine(Engine):
    """One task after the other, here. A coroutine function is awaited, one call at a time."""

    name = "serial"

    @classmethod
    def unavailable(cls, fn: Callable[..., Any] | None = None) -> str | None:  # noqa: ARG003 - it runs everything
        """Return None: a loop runs everywhere."""
        return None

    def open(self) -> None:
        """Do nothing: the worker is the caller."""

    def run(
        self,
        fn: Callable[[Any], Any],
        items: Iterable[Any],
        *,
        chunksize: int = 1,
        deadline: float | None = None,
    ) -> list[Outcome]:
        """Run the tasks; KeyboardInterrupt is the caller's own here and ends the run."""
        if is_coroutine_function(fn):
            with AsyncEngine(1) as engine:
                return engine.run(fn, items, chunksize=chunksize, deadline=deadline)
        feed = Feed(items, deadline=deadline)
        outcomes: list[Outcome] = []
        while batch := feed.take():
            outcomes += [_outcome(fn, index, item) for index, item in batch]
        feed.finish()
        return outcomes

    def close(self, *, kill: bool = False) -> None:
        """Do nothing: there is nothing to stop."""


def _outcome(fn: Callable[[Any], Any], index: int, item: object) -> Outcome:
    try:
        return Outcome(index, fn(item))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - a task may raise anything, SystemExit too
        return Outcome(index, error=error)
