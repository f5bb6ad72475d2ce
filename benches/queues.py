"""whichever.Queue beside its rivals: between threads, between threads and tasks, between processes, all in one run.

Each measurement has a fresh process; contenders take turns, round by round. How many items a contender passes is
chosen in first runs so that a measurement takes about a quarter of a second. What does not end in time is said.

    python benches/queues.py [--quick] [--only TEXT] [--rounds 3] [--out queues]

writes benches/results/queues.json. Rivals that are not installed are left out (`make bench-rivals` installs them).
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import subprocess
import sys
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

from _result import interleave, write_result

CHILD = Path(__file__).resolve().with_name("_queue_child.py")
CHILD_S = 60
OURS = "whichever.Queue"
PACKAGES = {"janus": "janus", "culsans": "culsans", "faster-fifo": "faster_fifo"}
IN_THREADS = (OURS, "queue.Queue", "queue.SimpleQueue", "culsans")
WITH_TASKS = (OURS, "janus", "culsans")
IN_PROCESSES = (OURS, "mp.Queue", "mp.SimpleQueue", "faster-fifo")
GROUPS = {
    "threads, 1 to 1": IN_THREADS,
    "threads, 4 to 4": IN_THREADS,
    "thread to task": WITH_TASKS,
    "task to thread": WITH_TASKS,
    "task to task": (OURS, "asyncio.Queue", "janus", "culsans"),
    "processes, int": IN_PROCESSES,
    "processes, 1 KiB": IN_PROCESSES,
    "processes, 1 MiB": IN_PROCESSES,
    "processes, int, 4 to 4": IN_PROCESSES,
}
TARGETS: dict[str, dict[str, float]] = {
    "threads, 1 to 1": {"queue.Queue": 10, "queue.SimpleQueue": 1 / 1.5},
    "threads, 4 to 4": {"queue.Queue": 10, "queue.SimpleQueue": 1 / 1.5},
    "thread to task": {"janus": 10, "culsans": 10},
    "task to thread": {"janus": 10, "culsans": 10},
    "processes, int": {"mp.Queue": 10, "faster-fifo": 5},
    "processes, 1 KiB": {"mp.Queue": 8, "faster-fifo": 5},
    "processes, 1 MiB": {"mp.Queue": 5, "faster-fifo": 5},
}
"""How many times as fast as a rival the queue is to be."""
AIM_S = 0.25
FIRST_ITEMS = 800
MOST_ITEMS = 2_000_000


def measure(group: str, name: str, items: int) -> float | None:
    """Give the items per second of one contender in one group; None when it fails or does not end."""
    command = [sys.executable, str(CHILD), group, name, str(items)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=CHILD_S, check=True)
    except (subprocess.TimeoutExpired, subprocess.CalledProcessError) as failure:
        said = (failure.stderr or b"") if isinstance(failure.stderr, bytes) else (failure.stderr or "")
        print(f"{group}, {name}: {type(failure).__name__} {said[-200:]!r}", flush=True)
        return None
    return float(json.loads(done.stdout.strip().rpartition("\n")[2]))


def amount(group: str, name: str) -> int:
    """Choose how many items to pass."""
    items = FIRST_ITEMS
    while items < MOST_ITEMS:
        rate = measure(group, name, items)
        if rate is None:
            return 0
        wanted = min(MOST_ITEMS, int(rate * AIM_S))
        if wanted <= 2 * items:
            break
        items = min(wanted, items * 30)
    return items


def installed(name: str) -> bool:
    """Say whether a contender is there."""
    return name not in PACKAGES or importlib.util.find_spec(PACKAGES[name]) is not None


def rows_of(group: str, rounds: int, *, quick: bool) -> list[dict[str, Any]]:
    """Measure all contenders of a group."""
    names = [name for name in GROUPS[group] if installed(name)]
    amounts = {name: FIRST_ITEMS if quick else amount(group, name) for name in names}
    running = {name: partial(measure, group, name, items) for name, items in amounts.items() if items}
    found = interleave(running, rounds)
    rows = []
    for name, figures in found.items():
        whole = [figure for figure in figures if figure]
        if whole:
            rows.append({
                "between": group, "queue": name, "items per second": round(statistics.median(whole)),
                "lowest": round(min(whole)), "highest": round(max(whole)), "items": amounts[name],
            })  # fmt: skip
            print(*rows[-1].values(), sep="  ", flush=True)
    return rows


def compared(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Set ours beside each rival that a target names."""
    rates = {(row["between"], row["queue"]): row["items per second"] for row in rows}
    found = []
    for group, rivals in TARGETS.items():
        for rival, aim in rivals.items():
            if (group, rival) in rates and (group, OURS) in rates:
                times = rates[group, OURS] / rates[group, rival]
                found.append({
                    "between": group, "times as fast as": rival, "measured": round(times, 2), "aim": round(aim, 2),
                    "kept": times >= aim,
                })  # fmt: skip
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one short round: does everything run?")
    parser.add_argument("--only", default="", help="part of the names of the groups to measure")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", default="queues", help="name of the result file")
    options = parser.parse_args()
    rounds = 1 if options.quick else options.rounds
    rows: list[dict[str, Any]] = []
    for group in GROUPS:
        if options.only in group:
            rows += rows_of(group, rounds, quick=options.quick)
    targets = compared(rows)
    for row in targets:
        print(*row.values(), sep="  ")
    rivals = {name: metadata.version(name) for name in PACKAGES if installed(name)}
    print(write_result(options.out, {"rivals": rivals, "targets": targets, "rows": rows}, repeats=rounds))


if __name__ == "__main__":
    main()
