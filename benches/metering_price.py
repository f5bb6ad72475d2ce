"""What metering costs: the slow-down of the task, the sampler's share of a core, and the price of one call.

The same work runs with and without a meter, turn by turn, and its CPU time is compared: wall time would compare
the neighbours of a shared machine.
"""

from __future__ import annotations

import os
import statistics
import time
import zlib
from typing import TYPE_CHECKING, Any

from _result import interleave, medians, write_result

from whichever.meter import Meter

if TYPE_CHECKING:
    from collections.abc import Callable

REPEATS = 41
TINY_CALLS = 20_000
DATA = os.urandom(1 << 17)


def python_loop() -> None:
    total = 0
    for number in range(700_000):
        total += number & 7


def native_calls() -> None:
    for _ in range(14):
        zlib.compress(DATA, 1)


def system_calls() -> None:
    for _ in range(40_000):
        os.stat("/")  # noqa: PTH116 - one short release of the GIL, nothing else


def tiny() -> None:
    pass


def cpu_of(task: Callable[[], Any]) -> float:
    start = time.thread_time()
    task()
    return time.thread_time() - start


def metered_cpu_of(task: Callable[[], Any]) -> float:
    with Meter() as meter:
        return meter.call(cpu_of, task)


def slow_down(task: Callable[[], None]) -> float:
    """Give the slow-down in per cent, by medians of interleaved runs."""
    figures = interleave({"off": lambda: cpu_of(task), "on": lambda: metered_cpu_of(task)}, REPEATS)
    middle = medians(figures)
    return 100 * (middle["on"] / middle["off"] - 1)


def sampler_load(task: Callable[[], None]) -> float:
    """Give the sampler's share of a core in per cent, over about a second."""
    with Meter() as meter:
        end = time.monotonic() + 1
        while time.monotonic() < end:
            meter.call(task)
    return 100 * meter.ledger().sampler_load


def call_price() -> float:
    """Give the nanoseconds that one metered call costs above a bare one."""

    def bare() -> float:
        function = tiny
        start = time.perf_counter_ns()
        for _ in range(TINY_CALLS):
            function()
        return (time.perf_counter_ns() - start) / TINY_CALLS

    def metered() -> float:
        with Meter() as meter:
            call, function = meter.call, tiny
            start = time.perf_counter_ns()
            for _ in range(TINY_CALLS):
                call(function)
            return (time.perf_counter_ns() - start) / TINY_CALLS

    middle = medians(interleave({"bare": bare, "metered": metered}, REPEATS))
    return middle["metered"] - middle["bare"]


def enter_price() -> float:
    """Give the microseconds that entering and leaving a meter takes."""

    def enter() -> float:
        start = time.perf_counter()
        with Meter():
            pass
        return 1e6 * (time.perf_counter() - start)

    return statistics.median(enter() for _ in range(REPEATS))


def main() -> None:
    tasks = {
        "pure Python": python_loop,
        "native calls": native_calls,
        "system calls": system_calls,
    }
    rows = []
    for name, task in tasks.items():
        rows.append(
            {"what": f"slow-down, {name}", "figure": slow_down(task), "unit": "per cent", "target": "1"}
        )
        rows.append(
            {"what": f"sampler, {name}", "figure": sampler_load(task), "unit": "% of a core", "target": "3"}
        )
    rows.append({"what": "one call of a tiny task", "figure": call_price(), "unit": "ns", "target": "1000"})
    rows.append({"what": "enter and leave", "figure": enter_price(), "unit": "us", "target": "-"})
    for row in rows:
        row["figure"] = round(row["figure"], 2)
        print(f"{row['what']:30} {row['figure']:10.2f} {row['unit']:12} target {row['target']}")
    print(write_result("metering_price", rows, repeats=REPEATS))


if __name__ == "__main__":
    main()
