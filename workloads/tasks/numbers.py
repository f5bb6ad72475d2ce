"""Arithmetic in the interpreter: exact and decimal numbers, search, loops."""

from __future__ import annotations

import random
import statistics
from contextlib import contextmanager
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workloads.registry import Prepared


def decimal_exponential(power: int) -> Decimal:
    with localcontext() as context:
        context.prec = 600
        return (Decimal(power) / 10).exp()


def harmonic(terms: int) -> Fraction:
    total = Fraction(0)
    for denominator in range(1, terms + 1):
        total += Fraction(1, denominator)
    return total


def deviation(values: list[float]) -> float:
    return statistics.stdev(values)


def count_primes(bounds: tuple[int, int]) -> int:
    return sum(
        all(number % divisor for divisor in range(2, int(number**0.5) + 1)) for number in range(*bounds)
    )


def count_queens(board: tuple[int, int]) -> int:
    size, first_column = board
    full = (1 << size) - 1

    def place(columns: int, left: int, right: int) -> int:
        if columns == full:
            return 1
        found, free = 0, full & ~(columns | left | right)
        while free:
            bit = free & -free
            free ^= bit
            found += place(columns | bit, (left | bit) << 1, (right | bit) >> 1)
        return found

    first = 1 << first_column
    return place(first, first << 1, first >> 1)


def mandelbrot_row(row: int) -> list[int]:
    """Count the steps of 400 points of one row, at most 400 each."""
    steps = []
    for column in range(400):
        point, z, count = complex(-2 + column * 0.0072, row * 0.008), 0j, 0
        while abs(z) < 2 and count < 400:
            z, count = z * z + point, count + 1
        steps.append(count)
    return steps


@contextmanager
def prepare_decimal_exponential() -> Prepared:
    yield decimal_exponential, list(range(1, 401))


@contextmanager
def prepare_fractions_harmonic() -> Prepared:
    yield harmonic, list(range(1_000, 1_200))


@contextmanager
def prepare_statistics_deviation() -> Prepared:
    numbers = random.Random(7)
    yield deviation, [[numbers.gauss(0, 1) for _ in range(5_000)] for _ in range(12)] * 20


@contextmanager
def prepare_primes() -> Prepared:
    yield count_primes, [(start, start + 6_000) for start in range(100_000, 484_000, 6_000)]


@contextmanager
def prepare_queens() -> Prepared:
    yield count_queens, [(12, column) for column in range(12)] * 4


@contextmanager
def prepare_mandelbrot() -> Prepared:
    yield mandelbrot_row, list(range(-150, 150))
