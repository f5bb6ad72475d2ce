"""Tasks whose point is their size: tiny, short, long, uneven, large payloads, a list cut into parts."""

from __future__ import annotations

import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING

from workloads import data
from workloads.tasks.waiting import busy_loop

if TYPE_CHECKING:
    from workloads.registry import Prepared

_UNIT = 25_000


def tiny(number: int) -> int:
    return sum(int(digit) for digit in str(number * 31))


def short(number: int) -> int:
    return sum(value * value % 7 for value in range(number, number + 1_000))


def checksum(block: bytes) -> int:
    return zlib.adler32(block)


def dearest(orders: list[tuple[int, str, float]]) -> tuple[int, str, float]:
    return max(orders, key=lambda order: order[2])


def unpack(packed: bytes) -> bytes:
    return zlib.decompress(packed)


def make_orders(seed: int) -> list[tuple[int, str, float]]:
    return [(number, f"order {number:06}", round(number * 0.37 + seed, 2)) for number in range(30_000)]


def sum_part(part: list[int]) -> int:
    return sum(part)


@contextmanager
def prepare_tiny_tasks() -> Prepared:
    yield tiny, list(range(500_000))


@contextmanager
def prepare_short_tasks() -> Prepared:
    yield short, list(range(10_000))


@contextmanager
def prepare_long_tasks() -> Prepared:
    yield busy_loop, [60_000_000 + number for number in range(3)]


@contextmanager
def prepare_uneven_tasks() -> Prepared:
    yield busy_loop, [100 * _UNIT if number % 25 == 20 else _UNIT for number in range(100)]


@contextmanager
def prepare_large_bytes_in() -> Prepared:
    yield checksum, [bytes((number,)) * (8 << 20) for number in range(1, 9)] * 20


@contextmanager
def prepare_large_objects_in() -> Prepared:
    yield dearest, [make_orders(number) for number in range(10)] * 50


@contextmanager
def prepare_large_bytes_out() -> Prepared:
    yield unpack, [zlib.compress(block, 1) for block in data.source_blocks(4, 8 << 20)] * 12


@contextmanager
def prepare_large_objects_out() -> Prepared:
    yield make_orders, list(range(60))


@contextmanager
def prepare_sum_of_parts() -> Prepared:
    numbers = list(range(10_000_000))
    yield sum_part, [numbers[start : start + 1_250_000] for start in range(0, 10_000_000, 1_250_000)]
