"""A list of ten million ints, cut into parts to be added up on all cores."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from whichever.cli.demo.job import Job

if TYPE_CHECKING:
    from collections.abc import Iterator

NUMBERS = 10_000_000
PARTS = 20


def add_up(part: list[int]) -> int:
    """Return the sum of `part`."""
    return sum(part)


@contextlib.contextmanager
def parts() -> Iterator[list[list[int]]]:
    """Give a list of ten million ints as twenty slices."""
    numbers = list(range(NUMBERS))
    length = NUMBERS // PARTS
    yield [numbers[start : start + length] for start in range(0, NUMBERS, length)]


JOB = Job(
    title="Sum ten million ints",
    task="sum() of one twentieth of a list of ten million ints.",
    fn=add_up,
    items=parts,
    textbook="processes",
    because="computing: cut it over the cores",
)
