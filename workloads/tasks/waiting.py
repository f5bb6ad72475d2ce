"""Sleep, busy loops, coroutines that block, a pipeline, and sleepers beside busy Python."""

from __future__ import annotations

import ast
import asyncio
import gzip
import queue
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from workloads import data

if TYPE_CHECKING:
    from workloads.registry import Prepared


def sleep(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def busy_loop(rounds: int) -> int:
    total = 0
    for number in range(rounds):
        total += number * number % 7
    return total


def sleep_or_work(item: tuple[str, float]) -> float:
    """Sleep six times for a moment, or work: half the tasks hold the GIL, the other half want it back."""
    kind, amount = item
    if kind == "work":
        return busy_loop(int(amount))
    for _ in range(6):
        time.sleep(amount)
    return amount


async def sleep_async(seconds: float) -> float:
    await asyncio.sleep(seconds)
    return seconds


async def sleep_blocking(seconds: float) -> float:
    await asyncio.sleep(seconds / 10)
    time.sleep(seconds)  # noqa: ASYNC251 - the mistake is the point
    return seconds


async def compute_async(rounds: int) -> int:
    await asyncio.sleep(0)
    return busy_loop(rounds)


def run_pipeline(packed: list[bytes]) -> int:
    """Unpack in a producer thread, parse here, a bounded queue between: one pipeline a call."""
    ready: queue.Queue[bytes | None] = queue.Queue(maxsize=4)

    def produce() -> None:
        for block in packed:
            ready.put(gzip.decompress(block))
        ready.put(None)

    producer = threading.Thread(target=produce)
    producer.start()
    nodes = sum(len(ast.parse(source).body) for source in iter(ready.get, None))
    producer.join()
    return nodes


@contextmanager
def prepare_time_sleep() -> Prepared:
    yield sleep, [0.02] * 60


@contextmanager
def prepare_busy_loop() -> Prepared:
    yield busy_loop, [200_000 + number for number in range(60)]


@contextmanager
def prepare_sleepers_beside_busy() -> Prepared:
    yield sleep_or_work, [("sleep", 0.004), ("work", 300_000)] * 24


@contextmanager
def prepare_asyncio_sleep() -> Prepared:
    yield sleep_async, [0.02] * 60


@contextmanager
def prepare_asyncio_blocking() -> Prepared:
    yield sleep_blocking, [0.02] * 50


@contextmanager
def prepare_asyncio_compute() -> Prepared:
    yield compute_async, [200_000 + number for number in range(60)]


@contextmanager
def prepare_pipeline() -> Prepared:
    packed = [gzip.compress(text.encode()) for text in data.source_texts(64, 10_000, 30_000)]
    yield run_pipeline, [packed[start : start + 8] for start in range(0, 64, 8)] * 6
