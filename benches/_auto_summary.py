"""What the runs of `auto.py` say: auto beside the best fixed engine, and beside each rival, over all workloads.

A workload's record holds ``count`` (its items), ``waits``, ``runs`` (of each contender that can, a list of outcomes
with ``seconds``, one for each repeat, and ``over`` where it was cut) and ``cannot`` (of the others, why).
"""

from __future__ import annotations

import statistics
from typing import Any

from benches._auto_contenders import AUTO, RIVALS

Record = dict[str, Any]

CLOSE = 1.10
"""Times the best fixed engine's time that auto may take, decision included."""
FAR = 1.3
"""And on no workload more than so many times."""
LOST = 2.0
"""A rival that takes so many times as long as auto has lost."""


def median_of(record: Record, contender: str) -> float | None:
    """Give the median of a contender's seconds; None if it cannot run the workload."""
    runs = record["runs"].get(contender)
    return statistics.median(run["seconds"] for run in runs) if runs else None


def best_fixed(record: Record) -> tuple[str, float]:
    """Give the fixed engine that was the fastest, and its seconds.

    Raises:
        ValueError: Not even a plain loop can run the workload.
    """
    medians = {name: median_of(record, name) for name in record["runs"] if name not in (AUTO, *RIVALS)}
    found = {name: seconds for name, seconds in medians.items() if seconds is not None}
    name = min(found, key=found.__getitem__)
    return name, found[name]


def row(name: str, record: Record) -> dict[str, Any]:
    """Set one workload's figures beside each other."""
    best, best_s = best_fixed(record)
    auto_s = median_of(record, AUTO)
    return {
        "workload": name,
        "items": record["count"],
        "serial_s": median_of(record, "serial"),
        "auto_s": auto_s,
        "auto_chose": _chosen(record),
        "best": best,
        "best_s": best_s,
        "over_best": auto_s / best_s if auto_s is not None else None,
    } | {rival: median_of(record, rival) for rival in RIVALS}


def _chosen(record: Record) -> str | None:
    """Name what auto chose, in the run in the middle."""
    runs = sorted(record["runs"].get(AUTO, ()), key=lambda run: run["seconds"])
    return runs[len(runs) // 2].get("chosen") if runs else None


def summary(records: dict[str, Record]) -> dict[str, Any]:
    """Sum up over all workloads. One that auto cannot run, or gets wrong, is not within any factor."""
    rows = [row(name, record) for name, record in records.items()]
    ratios = [line["over_best"] for line in rows]
    told = [ratio for ratio in ratios if ratio is not None]
    worst = sorted(rows, key=lambda line: -(line["over_best"] or float("inf")))[:10]
    return {
        "workloads": len(rows),
        "within_close": sum(ratio <= CLOSE for ratio in told) / len(rows),
        "worst": max(told, default=None),
        "over_far": [
            line["workload"] for line in rows if line["over_best"] is None or line["over_best"] > FAR
        ],
        "auto_total_s": sum(line["auto_s"] or 0.0 for line in rows),
        "best_total_s": sum(line["best_s"] for line in rows),
        "serial_total_s": sum(line["serial_s"] or 0.0 for line in rows),
        "rivals": [against(rival, rows, records) for rival in RIVALS],
        "worst_ten": [line | {"history": _history(records[line["workload"]])} for line in worst],
        "rows": rows,
    }


def against(rival: str, rows: list[dict[str, Any]], records: dict[str, Record]) -> dict[str, Any]:
    """Compare auto and one rival where the rival can."""
    both = [line for line in rows if line[rival] is not None and line["auto_s"] is not None]
    ours, theirs = (sum(line[name] for line in both) for name in ("auto_s", rival))
    return {
        "rival": rival,
        "workloads": len(both),
        "cannot": sum(rival in record["cannot"] for record in records.values()),
        "cut": sum(
            any(run.get("over") for run in record["runs"].get(rival, ())) for record in records.values()
        ),
        "rival_s": theirs,
        "auto_s": ours,
        "times_as_long": theirs / ours if ours else None,
        "loses_by_2x_or_more": sum(line[rival] / line["auto_s"] >= LOST for line in both),
        "auto_loses_by_2x_or_more": sum(line["auto_s"] / line[rival] >= LOST for line in both),
    }


def _history(record: Record) -> list[str]:
    """Give what auto did in its slowest run."""
    runs = record["runs"].get(AUTO)
    slowest: list[str] = max(runs, key=lambda run: run["seconds"]).get("history", []) if runs else []
    return slowest


def line(name: str, record: Record) -> str:
    """Say in one line how a workload went."""
    figures = row(name, record)
    ratio = figures["over_best"]
    shown = [
        f"{name:22}",
        f"auto {_s(figures['auto_s'])} ({figures['auto_chose']})",
        f"best {_s(figures['best_s'])} ({figures['best']})",
        f"x{ratio:.2f}" if ratio is not None else f"auto: {record['cannot'].get(AUTO, 'not run')}",
        *(f"{rival} {_s(figures[rival])}" for rival in RIVALS),
    ]
    return "  ".join(shown)


def _s(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.2f}"
