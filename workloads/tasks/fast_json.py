"""orjson: the JSON round trip in native code that keeps the GIL."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import orjson

from workloads import data

if TYPE_CHECKING:
    from workloads.registry import Prepared


def round_trip(document: bytes) -> bytes:
    return orjson.dumps([order for order in orjson.loads(document) if order["price"] > 100])


@contextmanager
def prepare_orjson_round_trip() -> Prepared:
    yield round_trip, [orjson.dumps(data.records(4_000, seed)) for seed in range(10)] * 10
