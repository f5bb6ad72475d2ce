"""whichever.ProcessPool beside its rivals: calls, payloads, starts, memory and scaling, all in one run.

Each measurement has a fresh process, so that nothing is inherited from the contender before; contenders take
turns, round by round. Contenders that need seconds to start (Ray, Dask) measure all groups in one process a round.
What a contender lacks, fails at or does not finish is written down beside the figures of the others.

    python benches/process_pool.py [--quick] [--only GROUP ...] [--contenders A,B] [--rounds 3]

writes benches/results/process_pool.json. Rivals that are not installed are left out (`make bench-rivals` installs
them). Expect about twelve minutes on two cores; the machine should have nothing else to do.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

from _children import run_in_group
from _pool_contenders import CONTENDERS, OUR_CLASS, missing
from _pool_figures import GROUPS
from _pool_targets import compared
from _result import interleave, write_result

CHILD = Path(__file__).resolve().with_name("_pool_child.py")
CHILD_S = 90
HEAVY_S = 240
"""Seconds for one child process; a figure that hangs ends it long before."""


class Bench:
    """All rounds of all contenders.

    Args:
        our_class: ``module:class`` of the contender that is ours.
        quick: Measure for a smoke test only.

    Attributes:
        values: Figures of all rounds by figure and contender.
        notes: Further facts of a figure (how many tasks, which chunk size), of the last round.
        lacking: Why a contender has no such figure, by contender and figure or group.
    """

    def __init__(self, our_class: str, *, quick: bool) -> None:
        self._our_class = our_class
        self._quick = quick
        self.values: dict[tuple[str, str], list[float]] = {}
        self.notes: dict[tuple[str, str], dict[str, Any]] = {}
        self.lacking: dict[tuple[str, str], str] = {}
        self._given_up: set[tuple[str, ...]] = set()

    def measure(self, name: str, groups: tuple[str, ...]) -> None:
        """Measure groups of figures of one contender in one new process."""
        if (name, *groups) in self._given_up:
            return
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "figures"
            out.touch()
            heavy = CONTENDERS[name]().heavy
            quick = "quick" if self._quick else "full"
            command = [sys.executable, CHILD, name, self._our_class, out, quick, *groups]
            ending = run_in_group(command, Path(folder), HEAVY_S if heavy else CHILD_S)
            lines = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
        if ending.code != 0:
            why = self._why(ending.code, ending.said)
            where = next((line["group"] for line in reversed(lines) if "group" in line), groups[0])
            last = next((line["figure"] for line in reversed(lines) if "figure" in line), "the start")
            self.lacking[name, where] = f"{why}, after {last}"
            print(f"{name}, {where}: {self.lacking[name, where]}", flush=True)
            if "in time" in why:
                self._given_up.add((name, *groups))
        self._note(name, lines)

    def _note(self, name: str, lines: list[dict[str, Any]]) -> None:
        for line in lines:
            if "value" in line:
                key = (line.pop("figure"), name)
                self.values.setdefault(key, []).append(line.pop("value"))
                self.notes[key] = line
            elif "why" in line:
                self.lacking[name, line["figure"]] = line["why"]

    @staticmethod
    def _why(code: int | None, said: str) -> str:
        """Say how a child failed."""
        if code is None or "Timeout (" in said:
            return "did not end in time"
        return said.strip().rpartition("\n")[2][:200] or f"ended with code {code}"

    def rows(self) -> list[dict[str, Any]]:
        """Give the figures, one flat row each: the median of the rounds, their range, and the notes."""
        return [
            {
                "figure": figure,
                "contender": name,
                "median": statistics.median(values),
                "low": min(values),
                "high": max(values),
                "rounds": len(values),
            }
            | self.notes[figure, name]
            for (figure, name), values in self.values.items()
        ]


def versions(names: list[str]) -> dict[str, str]:
    """Give the versions of the rivals that took part."""
    packages = sorted({CONTENDERS[name]().package for name in names} - {""})
    return {package: metadata.version(package) for package in packages}


def chosen(options: argparse.Namespace) -> list[str]:
    """Give the contenders that take part, saying of the others why they do not."""
    names = options.contenders.split(",") if options.contenders else list(CONTENDERS)
    if unknown := set(names) - set(CONTENDERS):
        sys.exit(f"no such contender: {', '.join(sorted(unknown))}; there are: {', '.join(CONTENDERS)}")
    taking_part = []
    for name in names:
        if reason := missing(name, options.pool):
            print(f"{name}: skipped, {reason}")
        else:
            taking_part.append(name)
    return taking_part


def shows(name: str, group: str) -> bool:
    """Say whether a contender has anything to show in a group: what is no pool shows what the cores do."""
    return group == "scaling" or "call" not in CONTENDERS[name]().lacks


def asked() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one short round: does everything run?")
    parser.add_argument("--only", action="append", choices=list(GROUPS), help="a group of figures")
    parser.add_argument("--contenders", default="", help=f"some of: {','.join(CONTENDERS)}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pool", default=OUR_CLASS, metavar="MODULE:CLASS", help="the class that is ours")
    parser.add_argument("--out", default="process_pool", help="name of the result file")
    return parser.parse_args()


def main() -> None:
    options = asked()
    names = chosen(options)
    bench = Bench(options.pool, quick=options.quick)
    groups = [group for group in GROUPS if not options.only or group in options.only]
    rounds = 1 if options.quick else options.rounds
    heavy = [n for n in names if CONTENDERS[n]().heavy]
    for group in groups:
        light = [n for n in names if n not in heavy and shows(n, group)]
        interleave({n: partial(bench.measure, n, (group,)) for n in light}, rounds)
        print(f"{group}: measured {', '.join(light)}", flush=True)
    interleave({n: partial(bench.measure, n, tuple(groups)) for n in heavy}, rounds)
    rows = bench.rows()
    targets = compared({(row["figure"], row["contender"]): row["median"] for row in rows})
    lacking = [{"contender": n, "figure": f, "why": why} for (n, f), why in sorted(bench.lacking.items())]
    for row in targets:
        print(*row.values(), sep="  ")
    results = {
        "our_class": options.pool,
        "rivals": versions(names),
        "targets": targets,
        "rows": rows,
        "lacking": lacking,
    }
    print(write_result(options.out, results, repeats=rounds))


if __name__ == "__main__":
    main()
