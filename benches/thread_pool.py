"""The thread pool beside the standard one: hand-over, waiting tasks, tasks that compute beside tasks that wait.

    python benches/thread_pool.py [--quick] [--out NAME]

Both run in the same process, round by round (`interleave`), on the interpreter that runs this. On a free-threaded
build the convoy has no meaning, and the scaling of Python code over two threads is measured instead. For tasks that
wait, bare threads that only nap (`whichever-load naps`) tell what the machine can do at best.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benches._load import built_load
from benches._result import interleave, write_result

import whichever

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

HAS_GIL = getattr(sys, "_is_gil_enabled", lambda: True)()
POOLS: dict[str, Callable[[int], Executor]] = {
    "whichever": whichever.ThreadPool,
    "standard": ThreadPoolExecutor,
}
NAP_SECONDS = 0.05
WAITING_TASKS = 100
RELEASES = 1000
BUSY_SECONDS = 0.5
CROWD = 128
SHORT_NAPS = 1000
SHORT_NAP_SECONDS = 0.02
LONG_TASKS = 60
LONG_SECONDS = 0.01


def nothing(_item: object = None) -> None:
    """Do nothing."""


def round_trip_us(make: Callable[[int], Executor], count: int) -> float:
    """Hand in one task and wait for it, again and again; microseconds each."""
    with make(2) as pool:
        pool.submit(nothing).result()
        begin = time.perf_counter()
        for _ in range(count):
            pool.submit(nothing).result()
        return (time.perf_counter() - begin) / count * 1e6


def submits_per_s(make: Callable[[int], Executor], count: int) -> float:
    """Hand in many tasks, then take all results; tasks a second over both."""
    with make(2) as pool:
        pool.submit(nothing).result()
        begin = time.perf_counter()
        for future in [pool.submit(nothing) for _ in range(count)]:
            future.result()
        return count / (time.perf_counter() - begin)


def maps_per_s(make: Callable[[int], Executor], count: int) -> float:
    """Map with default arguments; items a second."""
    with make(2) as pool:
        pool.submit(nothing).result()
        begin = time.perf_counter()
        for _ in pool.map(nothing, range(count)):
            pass
        return count / (time.perf_counter() - begin)


def waiting_efficiency(make: Callable[[int], Executor], _count: int) -> float:
    """Run 100 tasks that wait 50 ms on 100 threads that are there; the ideal time over the time it took."""
    with make(WAITING_TASKS) as pool:
        barrier = threading.Barrier(WAITING_TASKS)
        list(pool.map(lambda _: barrier.wait(), range(WAITING_TASKS)))
        begin = time.perf_counter()
        for future in [pool.submit(time.sleep, NAP_SECONDS) for _ in range(WAITING_TASKS)]:
            future.result()
        return NAP_SECONDS / (time.perf_counter() - begin)


def bare_waiting_efficiency() -> float:
    """Let 100 bare threads nap: the same figure with neither pool nor Python."""
    command = [built_load(), "naps", str(WAITING_TASKS), str(round(NAP_SECONDS * 1e3))]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


FLOORS = {waiting_efficiency: bare_waiting_efficiency}
"""What the machine gives at best."""


def compute(steps: int) -> int:
    """Run Python code that lets go of nothing."""
    total = 0
    for step in range(steps):
        total += step * step
    return total


def compute_for(seconds: float) -> None:
    """Run Python code for so long."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        compute(100)


def release(times: int) -> None:
    """Let go of the GIL and take it again, so many times."""
    for _ in range(times):
        time.sleep(0)


def busy_beside_releases_s(make: Callable[[int], Executor], busy: int) -> float:
    """Run tasks that compute, half a second together, beside one that releases the GIL 1000 times; seconds for all."""
    with make(busy + 1) as pool:
        barrier = threading.Barrier(busy + 1)
        list(pool.map(lambda _: barrier.wait(), range(busy + 1)))
        begin = time.perf_counter()
        handed_in = [pool.submit(compute_for, BUSY_SECONDS) for _ in range(busy)]
        handed_in.append(pool.submit(release, RELEASES))
        for future in handed_in:
            future.result()
        return time.perf_counter() - begin


def compute_cpu(seconds: float) -> None:
    """Run Python code for so much of the thread's own time."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        compute(100)


def latest_ms(make: Callable[[int], Executor], _count: int) -> float:
    """Run tasks that wait, then tasks that compute, on 128 threads; the longest wait of this one for the GIL, ms."""
    with make(CROWD) as pool:
        barrier = threading.Barrier(CROWD)
        list(pool.map(lambda _: barrier.wait(), range(CROWD)))
        naps = [pool.submit(time.sleep, SHORT_NAP_SECONDS) for _ in range(SHORT_NAPS)]
        work = [pool.submit(compute_cpu, LONG_SECONDS) for _ in range(LONG_TASKS)]
        latest = 0.0
        while not all(future.done() for future in work):
            begin = time.perf_counter()
            time.sleep(0.001)
            latest = max(latest, time.perf_counter() - begin - 0.001)
        for future in naps:
            future.result()
        return latest * 1e3


def scaling_efficiency(make: Callable[[int], Executor], steps: int) -> float:
    """Run 20 tasks of Python code on two threads; speed-up over one thread, divided by two."""
    items = [steps] * 20
    begin = time.perf_counter()
    for item in items:
        compute(item)
    serial = time.perf_counter() - begin
    with make(2) as pool:
        list(pool.map(compute, [1, 1]))
        begin = time.perf_counter()
        list(pool.map(compute, items))
        return serial / (time.perf_counter() - begin) / 2


FIGURES: list[tuple[str, Callable[..., float], int, float | None]] = [
    ("round trip of a no-op, us", round_trip_us, 3000, 3.0),
    ("submit() of no-ops and their results, tasks a second", submits_per_s, 20_000, 3.0),
    ("map() of no-ops, default arguments, items a second", maps_per_s, 20_000, 3.0),
    ("100 tasks that wait 50 ms on 100 threads, efficiency", waiting_efficiency, 1, None),
    *(
        [
            ("a task of 0.5 s that computes beside one of 1000 releases, s", busy_beside_releases_s, 1, 1.0),
            ("four such tasks beside one of 1000 releases, s", busy_beside_releases_s, 4, 1.0),
            (
                "128 threads whose tasks wait, then compute: longest wait of another for the GIL, ms",
                latest_ms,
                1,
                None,
            ),
        ]
        if HAS_GIL
        else []
    ),
    ("20 tasks of Python code on 2 threads, efficiency", scaling_efficiency, 300_000, None),
]
"""Each with its size, and how often better than the standard pool it is meant to be, where that is the aim."""


def measure(rounds: int, share: float) -> list[dict[str, Any]]:
    """Measure every figure; a row each."""
    rows = []
    for name, figure, size, aim in FIGURES:
        count = max(1, int(size * share)) if size > 100 and figure is not scaling_efficiency else size
        contenders = {pool: partial(figure, make, count) for pool, make in POOLS.items()}
        floor = FLOORS.get(figure)
        found = interleave(contenders | ({"bare": floor} if floor else {}), rounds)
        ours, theirs = (statistics.median(found[pool]) for pool in POOLS)
        better = theirs / ours if name.endswith((", us", ", ms", ", s")) else ours / theirs
        rows.append(
            {
                "figure": name,
                "whichever.ThreadPool": _short(ours),
                "ThreadPoolExecutor": _short(theirs),
                "bare threads": _short(statistics.median(found["bare"])) if floor else None,
                "times better": round(better, 2),
                "aim": aim,
            }
        )
        print(*rows[-1].values(), sep="  ", flush=True)
    return rows


def _short(number: float) -> float:
    return round(number) if number >= 1000 else float(f"{number:.3g}")


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one round, fewer tasks")
    parser.add_argument("--out", default="thread_pool" if HAS_GIL else "thread_pool_free_threaded")
    options = parser.parse_args()
    rounds = 1 if options.quick else 5
    rows = measure(rounds, 0.2 if options.quick else 1.0)
    print(write_result(options.out, rows, repeats=rounds))


if __name__ == "__main__":
    main()
