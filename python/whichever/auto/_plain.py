"""Tasks and results in plain loops: what was raised among them comes in its place."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

CALLERS = (KeyboardInterrupt, GeneratorExit)
"""What a task raises that runs here and is the caller's own: it ends the map at once."""


def collected(results: Iterable[Any], values: list[Any]) -> BaseException | None:
    """Take all results; return what a task raised, which ends them."""
    try:
        values.extend(results)
    except CALLERS:
        raise
    except BaseException as error:  # noqa: BLE001 - the task's own, given out in its place
        return error
    return None


def calls(fn: Any, items: Iterable[Any], *, star: bool) -> Iterator[Any]:
    """Run a task for each item, here, when its result is asked for."""
    return itertools.starmap(fn, items) if star else map(fn, items)


def run_here(fn: Any, items: list[Any], values: list[Any], *, star: bool) -> BaseException | None:
    """Run the tasks now; return what one of them raised, which ends that."""
    before = len(values)
    error = collected(calls(fn, items, star=star), values)
    return stopped(error, len(items) - (len(values) - before))


def stopped(error: BaseException | None, missing: int) -> BaseException | None:
    """Return what has ended a loop: a task's StopIteration does so without a word, and results are missing."""
    return StopIteration() if error is None and missing else error


def given_out(values: list[Any], error: BaseException | None) -> Iterator[Any]:
    """Give results that were collected, then raise what ended them."""
    return iter(values) if error is None else _then_raise(values, error)


def _then_raise(values: list[Any], error: BaseException) -> Generator[Any, None, None]:
    yield from values
    raise error


def drained(results: Iterable[Any]) -> Iterator[Any]:
    """Wait for all results, which wait for their reader then."""
    values = list[Any]()
    return given_out(values, collected(results, values))


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
