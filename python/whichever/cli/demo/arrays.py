"""Rank correlation of NumPy columns: computing that gives the GIL up, on data that is dear to send."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import numpy as np

from whichever.cli.demo.job import Job

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

ROWS = 200_000
TABLES = 40


def rank_correlation(table: NDArray[np.float64]) -> float:
    """Return Spearman's correlation of the table's two rows."""
    first, second = (np.argsort(np.argsort(row, kind="stable"), kind="stable") for row in table)
    apart = np.square((first - second).astype(np.float64)).sum()
    return 1 - 6 * float(apart) / (ROWS * (ROWS**2 - 1))


@contextlib.contextmanager
def tables() -> Iterator[list[NDArray[np.float64]]]:
    """Give 40 tables of two rows of 200 000 values that have something in common."""
    generator = np.random.default_rng(20_260_101)
    common = generator.normal(size=ROWS)
    yield [common + generator.normal(size=(2, ROWS)) for _ in range(TABLES)]


JOB = Job(
    title="Rank NumPy columns",
    task="Spearman correlation of two columns of 200 000 floats: argsort, twice each.",
    fn=rank_correlation,
    items=tables,
    textbook="processes",
    because="computing: processes",
)
