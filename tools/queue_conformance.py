"""Hold the queues against CPython's own tests of its queues, those of threads, of processes and of asyncio.

    queue_conformance.py [--suite NAME ...] [--python PATH ... | --every-python [--version 3.X ...]]
                         [--out NAME | --no-file]

``queue_tests.py`` says which tests these are and how they get our classes; a new process goes on after each test that
is not ok. Tests that read private names are counted apart. Beside ours stand the standard classes, run in the same
minutes. The exit code is 1 when a black-box test is not ok on ours and ok on the standard class.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import pythons
import test_all
from benches._children import run_in_group
from benches._result import write_result
from conformance import GOOD, Ended, NotTestedError, Run, Subject

CHILD = Path(__file__).resolve().with_name("queue_tests.py")
SUITES = {"threads": "test.test_queue", "simple": "test.test_queue", "processes": "test._test_multiprocessing",
          "tasks": "test.test_asyncio.test_queues"}  # fmt: skip
"""The suites, and the module that an interpreter must have for each."""
WHOSE = ("ours", "standard")
OTHERWISE = {
    "test_queue_feeder_donot_stop_onexc": "an item that does not pickle passes by reference in one process, and"
    " between processes raises in `put`, instead of being dropped behind the producer's back",
    "test_generic_alias": "`Queue[int]` is an alias of `typing`, so that type checkers know its items",
}
"""Tests of what is otherwise here on purpose, with the reason."""


@dataclass
class QueueRun(Run):
    """One suite on our classes or the standard ones; the subject's start method is the suite's name."""

    def _process(self, events: Path, begin: int, folder: Path) -> str:
        subject = self.subject
        command = [subject.python, CHILD, subject.start_method, subject.executor, events]
        return run_in_group([*command, "--from", begin, "--bound", self.bound], folder).said


def has_module(python: Path, module: str) -> bool:
    """Say whether an interpreter was installed with these tests."""
    done = subprocess.run([python, "-c", f"import {module}"], capture_output=True, check=False)
    return done.returncode == 0


def interpreters(options: argparse.Namespace) -> dict[str, Path]:
    """Give the interpreters to test under, by version."""
    if not options.every_python:
        chosen = [path.absolute() for path in options.python or [Path(sys.executable)]]
        return {pythons.version_of(path) or str(path): path for path in chosen}
    found = {}
    for version in options.version or pythons.VERSIONS:
        base = pythons.find(version)
        if base and has_module(base, "test.test_queue"):
            found[version] = test_all.environment(version, base)
            test_all.install(version, found[version])
        else:
            print(f"{version}: {'its tests are not installed' if base else 'not found (make pythons)'}")
    return found


def summary(version: str, suite: str, whose: str, ended: list[Ended]) -> dict[str, Any]:
    """Count one suite's tests in a flat row."""
    ran = [test for test in ended if test.outcome != "skip"]
    black = Counter(test.outcome in GOOD for test in ran if not test.private)
    white = Counter(test.outcome in GOOD for test in ran if test.private)
    return {
        "CPython": version,
        "tests": suite,
        "of": whose,
        "black box": f"{black[True]} of {black.total()}",
        "white box": f"{white[True]} of {white.total()}",
        "skipped": len(ended) - len(ran),
    }


def asked() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--suite", action="append", choices=list(SUITES))
    parser.add_argument("--python", action="append", type=Path, help="default: this interpreter")
    parser.add_argument("--every-python", action="store_true", help="install into and use all that are found")
    parser.add_argument("--version", action="append", help="one of those that --every-python would use")
    parser.add_argument("--bound", type=float, default=60.0, help="seconds for one test")
    parser.add_argument("--out", default="conformance_queue", help="name of the result file")
    parser.add_argument("--no-file", action="store_true", help="only print")
    return parser.parse_args()


def main() -> int:
    """Run, print, write; return the exit code."""
    options = asked()
    rows: list[dict[str, Any]] = []
    worse = False
    for version, python in interpreters(options).items():
        for suite in options.suite or SUITES:
            if not has_module(python, SUITES[suite]):
                print(f"{version} {suite}: not tested: no {SUITES[suite]}")
                continue
            failed: dict[str, set[str]] = {}
            for whose in WHOSE:
                try:
                    ended = QueueRun(Subject(whose, suite, python), options.bound).finish()
                except NotTestedError as reason:
                    print(f"{version} {suite} {whose}: not tested: {reason}", flush=True)
                    continue
                rows.append(summary(version, suite, whose, ended))
                print(*rows[-1].values(), sep="  ", flush=True)
                bad = [test for test in ended if test.outcome not in GOOD]
                failed[whose] = {
                    test.test
                    for test in bad
                    if not test.private and test.test.split(".")[-1] not in OTHERWISE
                }
                for test in bad:
                    why = OTHERWISE.get(test.test.split(".")[-1], test.why)
                    print(f"    {test.outcome}: {test.test} {test.private or ''}: {why}", flush=True)
            worse = worse or bool(failed.get("ours", set()) - failed.get("standard", set()))
    if rows and not options.no_file:
        print(write_result(options.out, rows))
    return int(worse or not rows)


if __name__ == "__main__":
    sys.exit(main())
