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
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benches._result import write_result
from workloads import registry

import whichever
from whichever.advisor import _cache
from whichever.advisor._machine import RECORDS


def ask(workload: Any) -> dict[str, Any] | None:
    """Ask one workload's question, verified; give its record and how long the question took before verifying."""
    moments: list[tuple[float, str]] = []
    with workload.prepare() as (fn, items):
        begin = time.perf_counter()
        before = len(_cache.records(RECORDS))
        verdict = whichever.which(
            fn, items, verify=True, progress=lambda text: moments.append((time.perf_counter(), text))
        )
    records = _cache.records(RECORDS)
    if len(records) == before:
        return None
    record = records[-1]
    asked = next((moment for moment, text in moments if text.startswith("verifying")), time.perf_counter())
    serial = verdict.ledger.wall
    return {
        "chosen": record["chosen"],
        "regret": record["regret"],
        "runs": record["runs"],
        "asked_s": asked - begin,
        "budget_s": max(1.0, 5 * serial),
        "tasks": verdict.tasks,
        "queue_share": verdict.ledger.queue_share,
        "excluded": dict(verdict.excluded),
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
        "regret_worst": max(regrets.values()),
        "regrets": dict(sorted(regrets.items(), key=lambda pair: -pair[1])),
        "error_median": statistics.median(sizes),
        "error_within_20_percent": sum(size <= 0.20 for size in sizes) / len(sizes),
        "worst_ten": [{"forecast": name, "error": value} for value, name in medians[:10]],
        "over_budget_s_p95": sorted(late)[int(len(late) * 0.95)],
    }


def _short(entry: dict[str, Any]) -> dict[str, Any]:
    """Leave out the question, which is long."""
    return {key: value for key, value in entry.items() if key != "question"}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="workloads; default: all whose libraries are here")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", default="verdicts", help="name of the result file")
    parser.add_argument(
        "--questions", type=Path, help="also write every question here, for work on the model"
    )
    options = parser.parse_args()
    whichever.machine()
    chosen = [w for w in registry.WORKLOADS if not options.names or w.name in options.names]
    entries: dict[str, list[dict[str, Any]]] = {}
    for turn in range(options.repeats):
        for workload in chosen:
            if workload.missing():
                continue
            try:
                entry = ask(workload)
            except Exception as error:  # noqa: BLE001 - one workload's trouble must not end the others'
                print(f"{turn} {workload.name}: {type(error).__name__}: {error}", flush=True)
                continue
            if entry is None:
                print(f"{turn} {workload.name}: not verified", flush=True)
                continue
            entries.setdefault(workload.name, []).append(entry)
            shown = ", ".join(
                f"{run['engine']}:{run['workers']} {run['predicted']:.3f}/{run['measured']:.3f}"
                for run in entry["runs"]
            )
            print(
                f"{turn} {workload.name}: {entry['chosen']} regret {entry['regret']:.2f} ({shown})"
                f" asked {entry['asked_s']:.2f} s",
                flush=True,
            )
    result = summary(entries) | {
        "entries": {name: [_short(entry) for entry in runs] for name, runs in entries.items()}
    }
    if options.questions:
        options.questions.write_text(json.dumps(entries))
    print(write_result(options.out, result, repeats=options.repeats))
    print({key: value for key, value in result.items() if key != "entries"})


if __name__ == "__main__":
    main()
