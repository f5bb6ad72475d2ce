"""pandas: group and total a table of orders."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from workloads import data

if TYPE_CHECKING:
    from workloads.registry import Prepared


def city_means(orders: pd.DataFrame) -> pd.DataFrame:
    dear = orders[orders["price"] > 50]
    return dear.groupby(["city", "count"], as_index=False)["price"].agg(["mean", "max", "size"])


def _orders(rows: int, seed: int) -> pd.DataFrame:
    numbers = np.random.default_rng(seed)
    columns = {
        "city": numbers.choice(data.CITIES, rows),
        "count": numbers.integers(1, 10, rows),
        "price": numbers.uniform(1, 500, rows),
    }
    return pd.DataFrame(columns)


@contextmanager
def prepare_pandas_groupby() -> Prepared:
    yield city_means, [_orders(60_000, seed) for seed in range(10)] * 16
