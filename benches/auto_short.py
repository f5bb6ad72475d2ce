"""Pool() where a choice hardly pays, and where it changes: a fifth of a second of work, and two phases in one map.

Short: each workload with items for 0.2 s, by a plain loop and by ``Pool().map``, each in a fresh process that has
imported what it needs, twice; auto may be later by 5 % or 10 ms, whichever is more. Phases: tasks that wait, then tasks
that compute, and the other way round, in one map; beside it who switches by hand at the right item, from a thread
pool of the best size to a process pool. Contenders take turns, round by round.

    python benches/auto_short.py [--full] [--repeats 5] [--only NAME,NAME] [--out auto_short] [--lock FILE]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benches._auto_child import MARK, size
from benches._auto_choice import CannotError, chosen, quiet, why
from benches._auto_contenders import AUTO, in_turn, prepare
from benches._children import run_in_group
from benches._result import ROOT, interleave, write_result
from workloads.registry import workloads
from workloads.tasks.waiting import sleep_or_work

import whichever

if TYPE_CHECKING:
    from collections.abc import Callable

SHORT_S = 0.2
LATER_SHARE, LATER_S = 0.05, 0.010
"""How much later than a plain loop auto may be: the larger of the two."""
PHASES_AIM = 1.15
"""Times what switching by hand takes."""
WAITING = [("sleep", 0.004)] * 200
COMPUTING = [("work", 400_000.0)] * 200
HANDS = (16, 32, 64, 128)
"""Threads of those who switch by hand; the best of them counts."""
CHILD_S = 90.0

Found = dict[str, Any]


def short(name: str, contender: str, count: int) -> Found:
    """Run `count` items of a workload twice; give the seconds of each run."""
    begin = time.perf_counter()
    prepare(contender)
    imported = time.perf_counter() - begin
    with workloads()[name].make() as (fn, own):
        items = list(islice(cycle(own), count))
        runs = [_timed(partial(_run, contender, fn, items)) for _ in range(2)]
    return {"first": runs[0], "second": runs[1], "import": imported}


def _timed(job: Callable[[], None]) -> float:
    begin = time.perf_counter()
    job()
    return time.perf_counter() - begin


def _run(contender: str, fn: Callable[[Any], Any], items: list[Any]) -> None:
    if contender == AUTO:
        with whichever.Pool(remember=False) as pool:
            for _ in pool.map(fn, items):
                pass
        return
    for _ in in_turn(fn, items):
        pass


def phases(contender: str, order: str) -> Found:
    """Run both phases in one map, or by hand one after the other; give the seconds."""
    prepare(AUTO)
    told: list[str] = []
    begin = time.perf_counter()
    if contender == AUTO:
        with whichever.Pool(remember=False) as pool:
            items = WAITING + COMPUTING if order == "waits, then computes" else COMPUTING + WAITING
            assert sum(1 for _ in pool.map(sleep_or_work, items)) == len(items)
            told = [str(step) for step in pool.history()]
    else:
        jobs = [partial(_by_threads, int(contender)), _by_processes]
        for job in jobs if order == "waits, then computes" else reversed(jobs):
            job()
    return {"seconds": time.perf_counter() - begin, "history": told}


def _by_threads(workers: int) -> None:
    with whichever.ThreadPool(workers) as pool:
        assert sum(1 for _ in pool.map(sleep_or_work, WAITING)) == len(WAITING)


def _by_processes() -> None:
    with whichever.ProcessPool() as pool:
        assert sum(1 for _ in pool.map(sleep_or_work, COMPUTING)) == len(COMPUTING)


def ask(lock: Path | None, *words: object) -> Found:
    """Run one measurement in a process of its own, holding the lock if there is one.

    Raises:
        CannotError: It has no answer.
    """
    with quiet(lock):
        ending = run_in_group([sys.executable, __file__, "--one", *words], ROOT, CHILD_S)
    _, mark, answer = ending.said.rpartition(MARK)
    if not mark:
        raise CannotError(why(ending))
    found: Found = json.loads(answer.splitlines()[0])
    return found


def short_row(name: str, repeats: int, lock: Path | None) -> Found | None:
    """Compare auto and a plain loop on one workload; None where one task takes longer than all should."""
    count = ask(lock, "size", name)["count"]
    if count < 2:
        return None
    runs = interleave({who: partial(ask, lock, "short", name, who, count) for who in ("loop", AUTO)}, repeats)
    medians = {
        (who, kind): statistics.median(run[kind] for run in runs[who])
        for who in runs
        for kind in ("first", "second", "import")
    }
    later = {kind: medians[AUTO, kind] - medians["loop", kind] for kind in ("first", "second")}
    return {
        "workload": name,
        "items": count,
        "loop_s": medians["loop", "first"],
        "auto_s": medians[AUTO, "first"],
        "second_loop_s": medians["loop", "second"],
        "second_auto_s": medians[AUTO, "second"],
        "import_s": medians[AUTO, "import"],
        "kept": all(
            late <= max(LATER_S, LATER_SHARE * medians["loop", kind]) for kind, late in later.items()
        ),
    }


def phases_row(order: str, repeats: int, lock: Path | None) -> Found:
    """Compare one map of two phases with those who switch by hand."""
    names = [AUTO, *map(str, HANDS)]
    runs = interleave({who: partial(ask, lock, "phases", who, order) for who in names}, repeats)
    medians = {who: statistics.median(run["seconds"] for run in found) for who, found in runs.items()}
    best = min(HANDS, key=lambda threads: medians[str(threads)])
    by_hand = medians[str(best)]
    return {
        "phases": order,
        "by_hand_s": by_hand,
        "by_hand": f"threads:{best} and processes",
        "auto_s": medians[AUTO],
        "times": medians[AUTO] / by_hand,
        "aim": PHASES_AIM,
        "kept": medians[AUTO] <= PHASES_AIM * by_hand,
        "history": runs[AUTO][-1]["history"],
    }


def answer(words: list[str]) -> Found:
    """Do one measurement in this process."""
    kind, *rest = words
    if kind == "size":
        return size(workloads()[rest[0]], SHORT_S, part=1.0, least=1)
    if kind == "short":
        return short(rest[0], rest[1], int(rest[2]))
    return phases(rest[0], rest[1])


def measure(options: argparse.Namespace) -> Found:
    """Make every row, printing each."""
    rows, phased = [], []
    for workload in chosen(options):
        try:
            found = short_row(workload.name, options.repeats, options.lock)
        except CannotError as reason:
            print(f"{workload.name}: left out, {reason}", flush=True)
            continue
        if found is not None:
            rows.append(found)
            print(
                *(f"{value:.3f}" if isinstance(value, float) else value for value in found.values()),
                flush=True,
            )
    for order in () if options.only else ("waits, then computes", "computes, then waits"):
        phased.append(phases_row(order, options.repeats, options.lock))
        print(json.dumps(phased[-1], indent=1), flush=True)
    return {
        "workloads": len(rows),
        "kept": sum(row["kept"] for row in rows),
        "latest_s": max((row["auto_s"] - row["loop_s"] for row in rows), default=0.0),
        "second_latest_s": max((row["second_auto_s"] - row["second_loop_s"] for row in rows), default=0.0),
        "import_s": statistics.median(row["import_s"] for row in rows) if rows else 0.0,
        "phases": phased,
        "rows": rows,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--one", nargs="+", help="do one measurement in this process")
    parser.add_argument("--full", action="store_true", help="all workloads, not a choice of every kind")
    parser.add_argument("--only", default="", help="the workloads of these names, and no phases")
    parser.add_argument("--tag", default="", help="the workloads that carry this tag")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", default="auto_short", help="name of the result file")
    parser.add_argument("--lock", type=Path, help="a file to lock while something is measured")
    options = parser.parse_args()
    if options.one:
        print(MARK + json.dumps(answer(options.one)), flush=True)
        return
    whichever.machine()
    print(write_result(options.out, measure(options), repeats=options.repeats))


if __name__ == "__main__":
    main()
