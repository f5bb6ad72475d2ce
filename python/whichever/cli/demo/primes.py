"""Many independent computations in pure Python: the case that the rule of thumb was made for."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from whichever.cli.demo.job import Job

if TYPE_CHECKING:
    from collections.abc import Iterator

STRETCH = 8_000


def primes_from(low: int) -> int:
    """Count the primes among the `STRETCH` numbers from `low` on, by trial division."""
    return sum(is_prime(number) for number in range(low, low + STRETCH))


def is_prime(number: int) -> bool:
    """Say whether `number`, at least 2, has no smaller factor."""
    factor = 2
    while factor * factor <= number:
        if number % factor == 0:
            return False
        factor += 1
    return True


@contextlib.contextmanager
def stretches() -> Iterator[list[int]]:
    """Give the first numbers of 50 stretches from a million on."""
    yield list(range(1_000_000, 1_000_000 + 50 * STRETCH, STRETCH))


JOB = Job(
    title="Count primes",
    task="Trial division of 8000 numbers near a million, in pure Python.",
    fn=primes_from,
    items=stretches,
    textbook="processes",
    because="computing: processes",
)
