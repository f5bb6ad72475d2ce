"""Run a process pool hard and long, and see that it keeps its word and leaves nothing.

    soak.py [kills|pools|tasks ...] [--count N] [--pool MODULE:CLASS] [--out NAME]

* ``kills``: a random worker is killed every 50 ms while tasks run with retries. Every result must be there once and
  right.
* ``pools``: pools are made, used and left in every way a program can: closed, closed without waiting, dropped,
  never used.
* ``tasks``: a great many tasks pass through one pool.

Afterwards there must be no more descriptors, memory files, shared memory, threads and children than after the
first, small pool, and memory must not have grown between the first tenth and the end by more than `GROWTH_MIB`.
A run that makes no progress for `STALL_S` seconds ends with every thread's stack. The exit code is 1 when anything
is wrong, and what is wrong is said.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import gc
import importlib
import os
import random
import signal
import sys
import threading
import time
from concurrent.futures import as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import census
import soak_tasks
from benches._result import write_result

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

POOL = "whichever:ProcessPool"
WORKERS = 2
KILL_S = 0.05
RETRIES = 1000
"""More than a task can meet kills."""
WINDOW = 1000
"""Futures in flight at once."""
STALL_S = 60.0
NOTHING = "nothing"
CALLER = "the caller"
WORKERS_OF_IT = "the workers"
GROWTH_MIB = 16.0
"""What may grow: heaps that settle, caches that fill. Ten million tasks that lose two bytes each are above it."""


@dataclass
class Soak:
    """One run.

    Attributes:
        make: Makes a pool from the number of workers and keyword arguments.
        count: How many tasks or pools.
        wrong: What was found to be wrong, in words.
        facts: What else the record should say.
        signs: Signs of life so far.
    """

    make: Callable[..., Any]
    count: int
    wrong: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    signs: int = 0
    _memory: list[tuple[float, float]] = field(default_factory=list)
    _armed: float = 0.0

    def steps(self, things: Iterable[Any]) -> Iterator[Any]:
        """Pass `things` on; each is a sign of life, and at a tenth and at the end memory is noted."""
        self.alive()
        for number, thing in enumerate(things):
            self.alive()
            if number == self.count // 10:
                self.note_memory()
            yield thing

    def alive(self) -> None:
        """Put off the end that a run without progress comes to."""
        self.signs += 1
        if time.monotonic() - self._armed > 1:
            self._armed = time.monotonic()
            faulthandler.dump_traceback_later(STALL_S, exit=True)

    def note_memory(self) -> None:
        """Note what this process and the workers keep."""
        gc.collect()
        self._memory.append((census.held_mib("self"), census.held_by_workers_mib()))

    def judge_memory(self, *who_stays: str) -> None:
        """Compare the last note with the first, for those who were there at both."""
        for index, who in enumerate((CALLER, WORKERS_OF_IT)):
            if who not in who_stays:
                continue
            grown = self._memory[-1][index] - self._memory[0][index]
            self.facts[f"{who} grew by"] = f"{grown:.1f} MiB"
            if grown > GROWTH_MIB:
                self.wrong.append(f"{who} grew by {grown:.1f} MiB")

    def expect(self, what: str, found: object, wanted: object) -> None:
        """Note a result that is not right."""
        if found != wanted:
            self.wrong.append(f"{what}: {str(found)[:80]} instead of {str(wanted)[:80]}")


def kills(soak: Soak) -> None:
    """Kill workers while tasks run: one half mapped, the other handed in one by one."""
    half = soak.count // 2
    killed: list[int] = []
    with soak.make(WORKERS, retries=RETRIES) as pool, killing(pool, soak, killed):
        numbers = range(half)
        results = pool.map(soak_tasks.checked, numbers, map(soak_tasks.payload, numbers))
        seen = 0
        for number, result in enumerate(soak.steps(results)):
            soak.expect(f"map, task {number}", result, soak_tasks.expected(number))
            seen += 1
        soak.expect("results of map", seen, half)
        for numbers in windows(half, soak.count):
            submitted = {
                pool.submit(soak_tasks.checked, number, soak_tasks.payload(number)): number
                for number in numbers
            }
            for future in as_completed(list(submitted)):
                soak.alive()
                number = submitted.pop(future)
                soak.expect(f"submit, task {number}", future.result(), soak_tasks.expected(number))
            soak.expect("futures that never ended", len(submitted), 0)
    soak.facts["workers killed:"] = len(killed)
    if not killed:
        soak.wrong.append("no worker was killed: too few tasks")


@contextlib.contextmanager
def killing(pool: Any, soak: Soak, killed: list[int]) -> Iterator[None]:
    """Kill a random worker every 50 ms; on a machine that does nothing in that time, not before something is done."""
    over = threading.Event()
    chance = random.Random(1)  # noqa: S311 - to be repeatable, not secret

    def kill_on() -> None:
        signs = -1
        while not over.wait(KILL_S):
            if signs == soak.signs:
                continue
            signs = soak.signs
            with contextlib.suppress(IndexError, ProcessLookupError):
                victim = chance.choice(list(pool.worker_pids()))
                os.kill(victim, signal.SIGKILL)
                killed.append(victim)

    thread = threading.Thread(target=kill_on)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def pools(soak: Soak) -> None:
    """Make pools and leave them in every way."""
    ways = (close, close_without_waiting, drop, never_use)
    for number in soak.steps(range(soak.count)):
        ways[number % len(ways)](soak)
    soak.note_memory()
    soak.judge_memory(CALLER)  # workers come and go: how many are just leaving is chance


def close(soak: Soak) -> None:
    """Use a pool as one should."""
    with soak.make(WORKERS) as pool:
        soak.expect("a result", pool.submit(soak_tasks.doubled, 21).result(), 42)


def close_without_waiting(soak: Soak) -> None:
    """Leave while the workers still end."""
    pool = soak.make(WORKERS)
    waiting = pool.submit(soak_tasks.doubled, 21)
    pool.shutdown(wait=False)
    soak.expect("a result after shutdown", waiting.result(), 42)


def drop(soak: Soak) -> None:
    """Forget a pool without a word."""
    pool = soak.make(WORKERS)
    soak.expect("a result", pool.submit(soak_tasks.doubled, 21).result(), 42)


def never_use(soak: Soak) -> None:
    """Open and close, nothing between."""
    with soak.make(WORKERS):
        pass


def tasks(soak: Soak) -> None:
    """Send many tasks through one pool: nearly all mapped, one in a hundred handed in with a payload."""
    single = soak.count // 100
    mapped = soak.count - single
    with soak.make(WORKERS) as pool:
        total = sum(soak.steps(pool.map(soak_tasks.doubled, range(mapped))))
        soak.expect("the sum of map", total, mapped * (mapped - 1))
        for numbers in windows(mapped, soak.count):
            futures = [pool.submit(soak_tasks.checked, n, soak_tasks.payload(n)) for n in numbers]
            for number, future in zip(numbers, futures, strict=True):
                soak.alive()
                soak.expect(f"submit, task {number}", future.result(), soak_tasks.expected(number))
        soak.note_memory()
    soak.judge_memory(CALLER, WORKERS_OF_IT)


def windows(begin: int, end: int) -> Iterator[range]:
    """Cut a range into parts of as many tasks as may be in flight at once."""
    for first in range(begin, end, WINDOW):
        yield range(first, min(first + WINDOW, end))


SOAKS: dict[str, tuple[Callable[[Soak], None], int]] = {
    "kills": (kills, 200_000),
    "pools": (pools, 10_000),
    "tasks": (tasks, 10_000_000),
}
"""The runs, each with its full count."""


def soaked(name: str, make: Callable[..., Any], count: int | None = None) -> dict[str, Any]:
    """Do one run; give its record, in which ``wrong`` says what was wrong, or `NOTHING`."""
    run, full = SOAKS[name]
    soak = Soak(make, count or full)
    close(soak)  # what stays for the life of the process is there from now on
    gc.collect()
    before = census.settled(census.taken())
    begin = time.monotonic()
    try:
        run(soak)
    except Exception as error:  # noqa: BLE001 - whatever a pool raises is a finding
        soak.wrong.append(f"{type(error).__name__}: {error}")
    finally:
        faulthandler.cancel_dump_traceback_later()
    seconds = time.monotonic() - begin
    gc.collect()
    left = census.settled(before).more_than(before)
    soak.wrong += [f"{count} more {what.replace('_', ' ')}" for what, count in left.items()]
    return {
        "soak": name,
        "count": soak.count,
        "seconds": round(seconds, 1),
        "noted": ", ".join(f"{what} {value}" for what, value in soak.facts.items()),
        "wrong": "; ".join(soak.wrong[:5]) or NOTHING,
    }


def main() -> int:
    """Do the runs that the command line names; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help=f"default: {' '.join(SOAKS)}")
    parser.add_argument("--count", type=int, help="tasks or pools, instead of the full number")
    parser.add_argument("--pool", default=POOL, metavar="MODULE:CLASS")
    parser.add_argument("--out", help="write a result file of this name")
    options = parser.parse_args()
    module, _, name = options.pool.partition(":")
    make = getattr(importlib.import_module(module), name)
    records = []
    for soak in options.names or SOAKS:
        records.append(soaked(soak, make, options.count))
        print("; ".join(f"{key}: {value}" for key, value in records[-1].items()), flush=True)
    if options.out:
        print(write_result(options.out, {"pool": options.pool, "rows": records}))
    return int(any(record["wrong"] != NOTHING for record in records))


if __name__ == "__main__":
    sys.exit(main())
