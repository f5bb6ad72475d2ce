"""``python -m workloads list`` and ``python -m workloads check [NAME...]``."""

from __future__ import annotations

import argparse
import asyncio
import inspect
import sys
import time
from typing import TYPE_CHECKING, Any

from workloads.registry import workloads

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from workloads.registry import Workload

_CHECKED_ITEMS = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return 1 when a check failed, 2 for an unknown name."""
    parser = argparse.ArgumentParser(
        prog="python -m workloads", description="Real tasks, and what is known of them."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="name every workload and what is known of it")
    check = commands.add_parser("check", help="run two items of each workload, or of the named ones")
    check.add_argument("names", nargs="*", metavar="NAME")
    chosen = parser.parse_args(arguments)
    if chosen.command == "list":
        return list_all()
    return check_all(chosen.names)


def list_all() -> int:
    """Print one line for each workload."""
    for workload in workloads().values():
        needs = ", ".join((*workload.requires, *workload.programs)) or "-"
        print(f"{workload.name:22} {workload.room:18} {needs:20} {workload.known}")
    return 0


def check_all(names: Sequence[str]) -> int:
    """Check the named workloads, or all, one line each."""
    known = workloads()
    unknown = [name for name in names if name not in known]
    if unknown:
        print(f"no such workload: {', '.join(unknown)}", file=sys.stderr)
        return 2
    reports = [_report(known[name]) for name in names or known]
    return int("failed" in reports)


def _report(workload: Workload) -> str:
    missing = workload.missing()
    if missing:
        print(f"{workload.name:22} skipped: {', '.join(missing)} is not installed")
        return "skipped"
    try:
        seconds = check(workload)
    except Exception as error:  # noqa: BLE001 - whatever a task raises is the check's finding
        print(f"{workload.name:22} failed: {type(error).__name__}: {error}")
        return "failed"
    print(f"{workload.name:22} ok: {seconds * 1000:.3f} ms a task")
    return "ok"


def check(workload: Workload, count: int = _CHECKED_ITEMS) -> float:
    """Run the first items and return the mean seconds of a task.

    Raises:
        ValueError: A result cannot be right, or the async tag is wrong.
    """
    with workload.make() as (fn, items):
        if inspect.iscoroutinefunction(fn) != ("async" in workload.tags):
            msg = "coroutine functions carry the tag async, and only they"
            raise ValueError(msg)
        chosen = items[:count]
        started = time.perf_counter()
        results = [run_one(fn, item) for item in chosen]
        seconds = (time.perf_counter() - started) / len(chosen)
        for item, result in zip(chosen, results, strict=True):
            if not workload.plausible(item, result):
                msg = f"implausible result {str(result)[:80]!r}"
                raise ValueError(msg)
    return seconds


def run_one(fn: Callable[[Any], Any], item: Any) -> Any:
    """Run one task to its end, a coroutine function in a loop of its own."""
    result = fn(item)
    return asyncio.run(result) if inspect.iscoroutine(result) else result


if __name__ == "__main__":
    sys.exit(main())
