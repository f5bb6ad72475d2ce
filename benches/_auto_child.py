"""One contender on one workload, in a process that does nothing else; or the sizing of a workload.

    python benches/_auto_child.py NAME CONTENDER COUNT LIMIT     how long it takes for COUNT items
    python benches/_auto_child.py NAME size SECONDS LIMIT        how many items a plain loop does in SECONDS

The answer is a JSON object behind a mark on standard output. A run beyond LIMIT seconds is cut, with a traceback.
"""

from __future__ import annotations

import faulthandler
import json
import os
import resource
import sys
import time
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benches._auto_contenders import in_turn, prepare, run
from workloads.registry import Workload, workloads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MARK = "\nmeasured: "
"""Stands before the answer, after whatever tasks printed."""
CHECKED = 16
"""About so many results of each run are looked at: all of them would fill the memory where they are large."""
WAITS_BELOW = 0.85
"""Tasks that are on a core, or in the queue for one, for less of their time than this wait."""


class Sampler:
    """Takes all results and keeps a few, evenly spread, for `check`."""

    def __init__(self, items: list[Any]) -> None:
        self._items = items
        self._step = max(1, len(items) // CHECKED)
        self._kept: list[Any] = []
        self._count = 0

    def take(self, results: Iterable[Any]) -> None:
        """Read results to their end, as a program does that works on each."""
        step, kept, number = self._step, self._kept, -1
        for number, result in enumerate(results):
            if not number % step:
                kept.append(result)
        self._count = number + 1

    def check(self, plausible: Callable[[Any, Any], bool]) -> None:
        """Compare results with their items.

        Raises:
            ValueError: There are too many or too few results, or one cannot be right.
        """
        if self._count != len(self._items):
            msg = f"{self._count} results of {len(self._items)} items"
            raise ValueError(msg)
        for item, result in zip(self._items[:: self._step], self._kept, strict=True):
            if not plausible(item, result):
                msg = f"implausible result {str(result)[:80]!r}"
                raise ValueError(msg)


def size(workload: Workload, seconds: float, *, part: float = 1 / 3, least: int = 2) -> dict[str, Any]:
    """Find out how many items a plain loop does in `seconds`, and whether its tasks wait.

    Args:
        workload: What to run.
        seconds: The time that the items should take.
        part: How much of it to run for finding out.
        least: The smallest number of items to answer.
    """
    with workload.make() as (fn, items):
        done, begin, busy = 0, time.perf_counter(), _busy()
        for _ in in_turn(fn, cycle(items)):
            done += 1
            passed = time.perf_counter() - begin
            if done >= least and passed >= seconds * part:
                break
        share = (_busy() - busy) / passed
    return {"count": max(least, round(done * seconds / passed)), "waits": share < WAITS_BELOW}


def measure(workload: Workload, contender: str, count: int, limit: float) -> dict[str, Any]:
    """Time one contender on `count` items, and check what came out.

    Raises:
        ValueError: A result is wrong.
    """
    with workload.make() as (fn, own):
        items = list(islice(cycle(own), count))
        sampler = Sampler(items)
        prepare(contender)
        faulthandler.dump_traceback_later(limit, exit=True)
        begin = time.perf_counter()
        told = run(contender, fn, items, sampler.take)
        passed = time.perf_counter() - begin
        faulthandler.cancel_dump_traceback_later()
        sampler.check(workload.plausible)
    return {"seconds": passed} | told


def _busy() -> float:
    """Give the seconds in which this process, or a child that it has waited for, had a core or wanted one."""
    uses = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    queued_ns = int(Path("/proc/self/schedstat").read_text().split()[1])
    return sum(use.ru_utime + use.ru_stime for use in uses) + queued_ns / 1e9


def _spare_the_machine() -> None:
    """Let no contender take more than half of the memory: who needs that cannot run the workload."""
    half = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    resource.setrlimit(resource.RLIMIT_DATA, (half, half))


def main() -> None:
    name, contender, amount, limit = sys.argv[1:]
    _spare_the_machine()
    workload = workloads()[name]
    if contender == "size":
        found = size(workload, float(amount))
    else:
        found = measure(workload, contender, int(amount), float(limit))
    print(MARK + json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
