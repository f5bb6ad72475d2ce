"""The small pools beside what one would write without them: round trip, submit, map of no-ops.

    python benches/small_pools.py [--repeats 3]      writes benches/results/small_pools.json

Each figure is a median of rounds in which the contenders take turns. Sub-interpreters need CPython 3.14.
"""

from __future__ import annotations

import argparse
import asyncio
import operator
import sys
import threading
import time
from concurrent import futures
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benches._result import interleave, medians, write_result

import whichever

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

TASKS = 2000
ROUND_TRIPS = 300


async def nothing(item: int) -> int:
    return -item


class NaiveLoop:
    """A loop in a thread, and ``run_coroutine_threadsafe``: what one writes without a pool."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def submit(self, fn: Callable[..., Any], item: int) -> futures.Future[int]:
        """Hand in a coroutine."""
        return asyncio.run_coroutine_threadsafe(fn(item), self._loop)

    def map(self, fn: Callable[..., Any], items: range) -> list[int]:
        """Run them all at once."""

        async def gather() -> list[int]:
            return await asyncio.gather(*map(fn, items))

        return asyncio.run_coroutine_threadsafe(gather(), self._loop).result()


def measure(pool: Any, fn: Callable[..., Any]) -> dict[str, float]:
    """Measure an open pool."""
    pool.submit(fn, 1).result()
    list(pool.map(fn, range(8)))
    begin = time.perf_counter()
    for _ in range(ROUND_TRIPS):
        pool.submit(fn, 1).result()
    round_trip = (time.perf_counter() - begin) / ROUND_TRIPS
    begin = time.perf_counter()
    handed_in = [pool.submit(fn, 1) for _ in range(TASKS)]
    submit = (time.perf_counter() - begin) / TASKS
    futures.wait(handed_in)
    begin = time.perf_counter()
    results = list(pool.map(fn, range(TASKS)))
    mapped = (time.perf_counter() - begin) / TASKS
    if results != [-item for item in range(TASKS)]:
        msg = f"{pool} gave wrong results"
        raise RuntimeError(msg)
    return {"round trip": round_trip, "submit": submit, "map": mapped}


def rivals() -> list[tuple[str, str, Callable[[], Any], Callable[[], Any], Callable[..., Any]]]:
    """Pairs to compare: the pool, the other one, how to make both, the task."""
    pairs: list[tuple[str, str, Callable[[], Any], Callable[[], Any], Callable[..., Any]]] = [
        ("AsyncPool", "a loop in a thread, gather", whichever.AsyncPool, NaiveLoop, nothing),
        (
            "SerialPool",
            "ThreadPoolExecutor(1)",
            whichever.SerialPool,
            lambda: futures.ThreadPoolExecutor(1),
            operator.neg,
        ),
    ]
    standard: Any = getattr(futures, "InterpreterPoolExecutor", None)
    if standard is not None:
        pairs.append(
            (
                "InterpreterPool",
                "InterpreterPoolExecutor",
                lambda: whichever.InterpreterPool(2),
                lambda: standard(2),
                operator.neg,
            )
        )
    return pairs


def compare(repeats: int) -> list[dict[str, Any]]:
    """Measure all pairs; microseconds a task."""
    rows: list[dict[str, Any]] = []
    for name, other, ours, theirs, fn in rivals():
        with ours() as mine, theirs() as its:
            found = interleave(
                {name: lambda: measure(mine, fn), other: lambda: measure(its, fn)},  # noqa: B023 - called here
                repeats,
            )
        for figure in ("round trip", "submit", "map"):
            middle = medians({who: [run[figure] * 1e6 for run in runs] for who, runs in found.items()})
            rows.append(
                {
                    "pool": name,
                    "figure": f"{figure}, us",
                    "ours": round(middle[name], 1),
                    "beside": other,
                    "theirs": round(middle[other], 1),
                    "times": round(middle[other] / middle[name], 2),
                }
            )
            print(rows[-1], flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    print(write_result("small_pools", compare(options.repeats), repeats=options.repeats))


if __name__ == "__main__":
    main()
