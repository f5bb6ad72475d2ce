"""Pools of one to four workers while other programs take cores: whether fewer workers finish sooner then.

    python benches/neighbours.py [--repeats 3]      writes benches/results/neighbours.json

Tasks compute, in processes with the GIL and in threads without it. Beside them run as many busy loops as the row says,
each a process of its own. Times are from the first task handed in to the last result, without a pool's start.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import hashlib
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benches._result import interleave, medians, write_result

import whichever

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

TASKS = 200
BUSY = "while True: pass"
WORKERS = (1, 2, 4)
DATA = bytes(1 << 20)


def add_up(_: int) -> int:
    """Hold the GIL for some milliseconds."""
    return sum(range(80_000))


def digest(_: int) -> bytes:
    """Compute without the GIL for about as long."""
    return hashlib.sha256(DATA).digest()


KINDS: dict[str, tuple[Callable[[int], Any], Callable[[int], Any]]] = {
    "processes": (whichever.ProcessPool, add_up),
    "threads": (whichever.ThreadPool, digest),
}


def seconds(kind: str, workers: int) -> float:
    """Time the tasks in a pool that has its workers."""
    make, task = KINDS[kind]
    with make(workers) as pool:
        list(pool.map(task, range(4 * workers)))
        begin = time.perf_counter()
        list(pool.map(task, range(TASKS)))
        return time.perf_counter() - begin


@contextlib.contextmanager
def neighbours(count: int) -> Generator[None, None, None]:
    """Keep so many cores busy."""
    busy = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(count)]
    try:
        yield
    finally:
        for program in busy:
            program.kill()
            program.wait()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    rows = []
    for kind in KINDS:
        for count in range(3):
            contenders = {
                f"{workers} workers": functools.partial(seconds, kind, workers) for workers in WORKERS
            }
            with neighbours(count):
                found = medians(interleave(contenders, options.repeats))
            one = found["1 workers"]
            rows.append(
                {"tasks in": kind, "busy programs": count}
                | {
                    name.replace("1 workers", "1 worker"): round(value / one, 2)
                    for name, value in found.items()
                }
            )
            print(rows[-1], flush=True)
    print(write_result("neighbours", rows, repeats=options.repeats))


if __name__ == "__main__":
    main()
