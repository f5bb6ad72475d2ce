"""Tasks and results in plain loops: what was raised among them comes in its place."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

CALLERS = (KeyboardInterrupt, GeneratorExit)
"""What a task raises that runs here and is the caller's own: it ends the map at once."""


def then_raise(values: list[Any], error: BaseException) -> Generator[Any, None, None]:
    yield from values
    raise error


def drained(results: Iterator[Any]) -> Iterator[Any]:
    """Wait for the rest of the results."""
    values: list[Any] = []
    try:
        values.extend(results)
    except CALLERS:
        raise
    except BaseException as error:  # noqa: BLE001 - the task's own, given out in its place
        return then_raise(values, error)
    return iter(values)


def run_here(fn: Any, items: list[Any], *, star: bool) -> Iterator[Any]:
    """Run the tasks now; their results wait."""
    values: list[Any] = []
    try:
        values.extend(itertools.starmap(fn, items) if star else map(fn, items))
    except CALLERS:
        raise
    except BaseException as error:  # noqa: BLE001 - the task's own, given out in its place
        return then_raise(values, error)
    return iter(values)


def columns(rows: Any, width: int) -> tuple[Any, ...]:
    """Cut rows into iterators of their own for `zip`, which asks each in turn."""
    row: tuple[Any, ...] = ()

    def first() -> Iterator[Any]:
        nonlocal row
        for row in rows:
            yield row[0]

    def other(column: int) -> Iterator[Any]:
        while True:
            yield row[column]

    return (first(), *(other(column) for column in range(1, width)))
