"""faiss: exact nearest neighbours among 20 000 vectors, in a native library with threads of its own."""

from __future__ import annotations

from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

import faiss
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from workloads.registry import Prepared


@cache
def _index() -> faiss.IndexFlatL2:
    index = faiss.IndexFlatL2(64)
    index.add(np.random.default_rng(7).standard_normal((20_000, 64), dtype=np.float32))
    return index


def nearest(queries: NDArray[np.float32]) -> NDArray[np.int64]:
    neighbours: NDArray[np.int64] = _index().search(queries, 10)[1]
    return neighbours


@contextmanager
def prepare_faiss_search() -> Prepared:
    _index()
    numbers = np.random.default_rng(8)
    yield nearest, [numbers.standard_normal((100, 64), dtype=np.float32) for _ in range(160)]
