"""Pool() beside every fixed engine and beside the usual pools, on all workloads, about five seconds of work each.

Each run has a process of its own, and contenders take turns, round by round. Auto starts without memory of earlier
runs; its time has its decision in it, every contender's its start and its end. The best fixed engine is the one that
turned out to be the fastest. A rival that would change what the program means, raises, or gives wrong results
"cannot"; one that takes ten times as long as a plain loop is cut there, and counts with the time it had.

    python benches/auto.py [--full] [--repeats N] [--seconds 5] [--only NAME,NAME] [--tag TAG] [--out auto]
    python benches/auto.py --again auto     measures auto anew; the other figures stay as the result file has them

writes benches/results/auto.json after each workload. Without --full: a small choice of workloads that has every kind.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benches._auto_child import MARK
from benches._auto_choice import CannotError, chosen, quiet, why
from benches._auto_contenders import contenders
from benches._auto_summary import CLOSE, FAR, line, summary
from benches._children import run_in_group
from benches._result import RESULTS, ROOT, write_result

import whichever

if TYPE_CHECKING:
    from workloads.registry import Workload

CHILD = ROOT / "benches" / "_auto_child.py"
CUT = 10
"""A run is cut when it takes so many times as long as a plain loop should."""
PREPARE_S = 90.0
"""Data and servers of a workload are ready within this."""


class Bench:
    """The records of all workloads, and how they are made.

    Args:
        seconds: About how long a plain loop takes for a workload's items.
        lock: A file that is locked while something is measured, for programs that keep quiet meanwhile.
        again: Contenders that are measured though there is a record; empty for all.
    """

    def __init__(self, seconds: float, lock: Path | None, again: tuple[str, ...]) -> None:
        self.records: dict[str, dict[str, Any]] = {}
        self._seconds = seconds
        self._lock = lock
        self._again = again

    def keep(self, records: dict[str, dict[str, Any]]) -> None:
        """Take over the records of an earlier run, without the contenders that are measured again."""
        for record in records.values():
            for kind in ("runs", "cannot"):
                record[kind] = {name: kept for name, kept in record[kind].items() if name not in self._again}
        self.records = records

    def turn(self, workload: Workload, shift: int) -> None:
        """Measure every contender once on a workload, beginning with another one at each turn.

        Raises:
            CannotError: Nobody can run it.
        """
        with quiet(self._lock):
            record = self.records.get(workload.name) or self._sized(workload)
        self.records[workload.name] = record
        entered = contenders(workload, waits=record["waits"])
        record["cannot"] |= {name: reason for name, reason in entered.items() if reason is not None}
        able = [name for name in entered if name not in record["cannot"] and self._is_due(name)]
        shift %= max(1, len(able))
        for name in able[shift:] + able[:shift]:
            try:
                with quiet(self._lock):
                    outcome = self._one(workload.name, name, record["count"])
            except CannotError as reason:
                record["cannot"][name] = str(reason)
                record["runs"].pop(name, None)
            else:
                record["runs"].setdefault(name, []).append(outcome)
        if "serial" in record["cannot"]:
            del self.records[workload.name]
            why_not = f"a plain loop cannot: {record['cannot']['serial']}"
            raise CannotError(why_not)

    def _is_due(self, contender: str) -> bool:
        return not self._again or contender in self._again

    def _sized(self, workload: Workload) -> dict[str, Any]:
        return self._one(workload.name, "size", self._seconds) | {"runs": {}, "cannot": {}}

    def _one(self, workload: str, contender: str, amount: float) -> dict[str, Any]:
        """Run one child and return its answer.

        Raises:
            CannotError: It has none.
        """
        limit = self._seconds * CUT
        command = [sys.executable, CHILD, workload, contender, amount, limit]
        ending = run_in_group(command, ROOT, limit + PREPARE_S)
        _, mark, answer = ending.said.rpartition(MARK)
        if mark:
            found: dict[str, Any] = json.loads(answer.splitlines()[0])
            return found
        if ending.code is None or "Timeout (" in ending.said:
            return {"seconds": limit, "over": True}
        raise CannotError(why(ending))


def report(found: dict[str, Any]) -> None:
    """Print what came out."""
    print(
        f"{found['workloads']} workloads: auto within {CLOSE}x of the best fixed engine on "
        f"{found['within_close']:.0%}, worst {found['worst'] or float('nan'):.2f}x, beyond {FAR}x: "
        f"{', '.join(found['over_far']) or 'none'}"
    )
    print(
        f"in all: auto {found['auto_total_s']:.1f} s, best fixed engine of each {found['best_total_s']:.1f} s, "
        f"plain loops {found['serial_total_s']:.1f} s"
    )
    for rival in found["rivals"]:
        print(", ".join(f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}"
                        for key, value in rival.items()))  # fmt: skip
    for entry in found["worst_ten"]:
        print(f"{entry['workload']}: {entry['over_best'] or float('nan'):.2f}x of {entry['best']}")
        print(*(f"    {step}" for step in entry["history"]), sep="\n")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--full", action="store_true", help="all workloads, not a choice of every kind")
    parser.add_argument("--only", default="", help="the workloads of these names, with commas between")
    parser.add_argument("--tag", default="", help="the workloads that carry this tag")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=5.0, help="of a plain loop")
    parser.add_argument("--out", default="auto", help="name of the result file")
    parser.add_argument(
        "--again", default="", help="measure these contenders only, and keep the others' figures"
    )
    parser.add_argument("--lock", type=Path, help="a file to lock while something is measured")
    options = parser.parse_args()
    bench = Bench(options.seconds, options.lock, tuple(filter(None, options.again.split(","))))
    if options.again:
        bench.keep(json.loads((RESULTS / f"{options.out}.json").read_text())["results"]["records"])
    whichever.machine()  # what is measured once on a machine is no part of anybody's run
    running = chosen(options)
    for turn in range(options.repeats):
        for workload in running:
            try:
                bench.turn(workload, turn)
            except CannotError as reason:
                print(f"{workload.name}: left out, {reason}", flush=True)
                continue
            print(f"{turn} {line(workload.name, bench.records[workload.name])}", flush=True)
            result = summary(bench.records) | {"records": bench.records}
            write_result(options.out, result, repeats=options.repeats)
    report(summary(bench.records))


if __name__ == "__main__":
    main()
