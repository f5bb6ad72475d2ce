"""NumPy: native loops that release the GIL, one that brings its own threads, and arrays that must travel."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from workloads.registry import Prepared


def wave_energy(seed: int) -> float:
    values = np.linspace(0, seed + 1, 400_000)
    return float(np.sqrt(np.sin(values) ** 2 + np.cos(values) ** 2).sum())


def matrix_trace(seed: int) -> float:
    numbers = np.random.default_rng(seed)
    matrix = numbers.standard_normal((600, 600))
    for _ in range(4):
        matrix = matrix @ matrix.T
        matrix /= np.abs(matrix).max()
    return float(np.trace(matrix))


def median_by_sorting(seed: int) -> float:
    values = np.random.default_rng(seed).standard_normal(400_000)
    values.sort()
    return float(values[len(values) // 2])


def big_field(seed: int) -> NDArray[np.float64]:
    return np.random.default_rng(seed).standard_normal(1_000_000)


def histogram_of_field(field: NDArray[np.float64]) -> list[int]:
    counts: list[int] = np.histogram(field, 64)[0].tolist()
    return counts


def many_small_calls(seed: int) -> float:
    """Move one particle in small steps: each call into NumPy is shorter than the Python around it."""
    position, velocity = np.zeros(3), np.array((1.0, 0.5, seed / 100))
    for _ in range(1_500):
        velocity = velocity - 0.01 * position
        position = position + 0.01 * velocity
    return float(position @ position)


def _seeds(count: int) -> list[Any]:
    return list(range(count))


@contextmanager
def prepare_numpy_elementwise() -> Prepared:
    yield wave_energy, _seeds(60)


@contextmanager
def prepare_numpy_matmul() -> Prepared:
    yield matrix_trace, _seeds(40)


@contextmanager
def prepare_numpy_sort() -> Prepared:
    yield median_by_sorting, _seeds(120)


@contextmanager
def prepare_numpy_big_result() -> Prepared:
    yield big_field, _seeds(60)


@contextmanager
def prepare_numpy_big_argument() -> Prepared:
    field = big_field(7)
    yield histogram_of_field, [field + number for number in range(80)]


@contextmanager
def prepare_numpy_small_calls() -> Prepared:
    yield many_small_calls, _seeds(300)
