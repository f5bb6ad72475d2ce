"""Verdicts against real runs: forecast error and regret over all workloads, each on a question of its own.

Each workload is asked `repeats` times with ``verify=True``; the workloads take turns, so that a busy minute hits
no workload three times. Regret is the predicted engine's measured time over the best engine's; the
forecast error is |forecast - measured| / measured of every engine that was run.

    python benches/verdicts.py [--repeats 3] [NAME ...]      writes benches/results/verdicts.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benches._result import write_result
from workloads.registry import Workload, workloads

import whichever
from whichever.advisor import _cache
from whichever.advisor._machine import RECORDS

_MARK = "\nentry: "
"""Stands before the entry on standard output, after whatever tasks printed."""


def ask(name: str) -> dict[str, Any]:
    """Ask one workload's question, verified, in a process of its own, as a user would."""
    command = [sys.executable, __file__, "--one", name]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip().rpartition("\n")[2] or f"exit code {done.returncode}")
    found: dict[str, Any] = json.loads(done.stdout.rpartition(_MARK)[2])
    return found


def ask_here(workload: Workload) -> dict[str, Any]:
    """Ask in this process; give the record and how long the question took before verifying."""
    moments: list[tuple[float, str]] = []
    with workload.make() as (fn, items):
        begin = time.perf_counter()
        verdict = whichever.which(
            fn, items, verify=True, progress=lambda text: moments.append((time.perf_counter(), text))
        )
    record = _cache.records(RECORDS)[-1]
    asked = next((moment for moment, text in moments if text.startswith("verifying")), time.perf_counter())
    return {
        "chosen": record["chosen"],
        "regret": record["regret"],
        "runs": record["runs"],
        "asked_s": asked - begin,
        "budget_s": max(1.0, 5 * verdict.ledger.wall),
        "tasks": verdict.tasks,
        "queue_share": verdict.ledger.queue_share,
        "excluded": dict(verdict.excluded),
        "wrongly_allowed": sorted(set(workload.breaks) - set(verdict.excluded)),
        "question": record["question"],
    }


def summary(entries: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Sum up: per workload the medians over its repeats, then over workloads."""
    regrets = {name: statistics.median(entry["regret"] for entry in runs) for name, runs in entries.items()}
    errors: dict[str, list[float]] = {}
    for name, runs in entries.items():
        by_engine: dict[str, list[float]] = {}
        for entry in runs:
            for run in entry["runs"]:
                by_engine.setdefault(run["engine"], []).append(run["predicted"] / run["measured"] - 1)
        for engine, values in by_engine.items():
            errors[f"{name} / {engine}"] = values
    medians = sorted(((statistics.median(v), k) for k, v in errors.items()), key=lambda pair: -abs(pair[0]))
    sizes = [abs(value) for values in errors.values() for value in values]
    late = [entry["asked_s"] - entry["budget_s"] for runs in entries.values() for entry in runs]
    return {
        "workloads": len(entries),
        "forecasts": len(sizes),
        "best_within_5_percent": sum(r <= 1.05 for r in regrets.values()) / len(regrets),
        "regret_over_1_25": sorted(name for name, r in regrets.items() if r > 1.25),
        "wrongly_allowed": sorted(
            name for name, runs in entries.items() if any(e["wrongly_allowed"] for e in runs)
        ),
        "regret_worst": max(regrets.values()),
        "regrets": dict(sorted(regrets.items(), key=lambda pair: -pair[1])),
        "error_median": statistics.median(sizes),
        "error_within_20_percent": sum(size <= 0.20 for size in sizes) / len(sizes),
        "inside_80_percent_interval": _inside(entries),
        "worst_ten": [{"forecast": name, "error": value} for value, name in medians[:10]],
        "over_budget_s_p95": sorted(late)[int(len(late) * 0.95)],
    }


def _line(entry: dict[str, Any]) -> str:
    runs = ", ".join(
        f"{run['engine']}:{run['workers']} {run['predicted']:.3f}/{run['measured']:.3f}"
        for run in entry["runs"]
    )
    return f"{entry['chosen']} regret {entry['regret']:.2f} ({runs}) asked {entry['asked_s']:.2f} s"


def _inside(entries: dict[str, list[dict[str, Any]]]) -> float:
    """Give the share of real runs that lay inside their forecast's 80 % interval."""
    runs = [run for asked in entries.values() for entry in asked for run in entry["runs"]]
    return sum(run["low"] <= run["measured"] <= run["high"] for run in runs) / len(runs)


def _short(entry: dict[str, Any]) -> dict[str, Any]:
    """Leave out the question, which is long."""
    return {key: value for key, value in entry.items() if key != "question"}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="workloads; default: all whose libraries are here")
    parser.add_argument("--one", metavar="NAME", help="ask one workload here and print its entry")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", default="verdicts", help="name of the result file")
    parser.add_argument(
        "--questions", type=Path, help="also write every question here, for work on the model"
    )
    options = parser.parse_args()
    if options.one:
        print(_MARK + json.dumps(ask_here(workloads()[options.one])))
        return
    whichever.machine()
    entries: dict[str, list[dict[str, Any]]] = {}
    for turn in range(options.repeats):
        for workload in workloads().values():
            if workload.missing() or (options.names and workload.name not in options.names):
                continue
            try:
                entry = ask(workload.name)
            except (RuntimeError, subprocess.TimeoutExpired) as error:
                print(f"{turn} {workload.name}: {error}", flush=True)
                continue
            entries.setdefault(workload.name, []).append(entry)
            print(f"{turn} {workload.name}: {_line(entry)}", flush=True)
    result = summary(entries) | {
        "entries": {name: [_short(entry) for entry in runs] for name, runs in entries.items()}
    }
    if options.questions:
        options.questions.write_text(json.dumps(entries))
    print(write_result(options.out, result, repeats=options.repeats))
    print({key: value for key, value in result.items() if key != "entries"})


if __name__ == "__main__":
    main()
