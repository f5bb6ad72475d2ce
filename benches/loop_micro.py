"""What an event loop does many times a second, each by itself: callbacks, timers, tasks, executors, subprocesses.

Every figure of every loop has a process of its own; loops take turns, round by round.

    python benches/loop_micro.py [--quick] [--only TEXT] [--rounds 5] [--loop NAME ...] [--out loop_micro]

writes benches/results/loop_micro.json. Loops that are not installed are left out (`make bench-loops` installs them).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

from _loop_kinds import OURS, installed, versions
from _loop_micro import FIGURES
from _result import interleave, write_result

CHILD = Path(__file__).resolve().with_name("_loop_micro.py")
CHILD_S = 60
AGAINST = "uvloop"
QUICK_SHARE = 0.02
TARGETS = {
    "call_soon": 1.5,
    "call_soon_argument": 2.0,
    "call_soon_chain": 1.7,
    "threadsafe_other_thread": 1.5,
    "call_later_fire": 1.3,
    "call_later_cancel": 3.5,
    "call_later_churn": 2.5,
    "sleep_0": 1.6,
    "run_in_executor": 2.0,
    "subprocess_exec": 7.0,
}
"""How many times as fast as uvloop ours is to be."""


def measure(loop: str, figure: str, share: float) -> float | None:
    """Give the operations per second of one loop; None when it fails or does not end."""
    command = [sys.executable, str(CHILD), loop, figure, str(share)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=CHILD_S, check=True)
    except (subprocess.TimeoutExpired, subprocess.CalledProcessError) as failure:
        said = failure.stderr or ""
        print(f"{figure}, {loop}: {type(failure).__name__} {said[-200:]!r}", flush=True)
        return None
    return float(json.loads(done.stdout.strip().rpartition("\n")[2]))


def rows_of(figure: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure one figure on every loop."""
    share = QUICK_SHARE if options.quick else 1.0
    contenders = {loop: partial(measure, loop, figure, share) for loop in options.loop}
    rows = []
    for loop, rates in interleave(contenders, options.rounds).items():
        whole = [rate for rate in rates if rate]
        if whole:
            rows.append({
                "figure": figure, "loop": loop, "per second": round(statistics.median(whole)),
                "lowest": round(min(whole)), "highest": round(max(whole)),
            })  # fmt: skip
            print(*rows[-1].values(), sep="  ", flush=True)
    return rows


def compared(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Set ours beside the rivals."""
    rates = {(row["figure"], row["loop"]): row["per second"] for row in rows}

    def times(figure: str, rival: str) -> float | None:
        theirs = rates.get((figure, rival))
        return round(rates[figure, OURS] / theirs, 2) if theirs else None

    return [
        {
            "figure": figure,
            "x uvloop": times(figure, AGAINST),
            "at least": TARGETS.get(figure),
            "kept": None if figure not in TARGETS else (times(figure, AGAINST) or 0) >= TARGETS[figure],
            "x asyncio": times(figure, "asyncio"),
            "x rloop": times(figure, "rloop"),
        }
        for figure in FIGURES
        if (figure, OURS) in rates
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one short round: does everything run?")
    parser.add_argument("--only", default="", help="part of the names of the figures to measure")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--loop", action="append", help="one of those to measure; all that are installed")
    parser.add_argument("--out", default="loop_micro", help="name of the result file")
    options = parser.parse_args()
    options.loop = options.loop or installed()
    options.rounds = 1 if options.quick else options.rounds
    rows: list[dict[str, Any]] = []
    for figure in FIGURES:
        if options.only in figure:
            rows += rows_of(figure, options)
    targets = compared(rows)
    for target in targets:
        print(*target.values(), sep="  ")
    results = {"rivals": versions(), "targets": targets, "rows": rows}
    print(write_result(options.out, results, repeats=options.rounds))


if __name__ == "__main__":
    main()
