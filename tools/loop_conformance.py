"""Hold an event loop against CPython's own tests of asyncio, and against uvloop's.

    loop_conformance.py [--loop MODULE:FACTORY ...] [--suite cpython|uvloop ...] [--module NAME ...] [--only TEXT]
                        [--python PATH ... | --every-python] [--jobs N] [--bound SECONDS] [--out NAME | --no-file]

The tests run in processes of their own (``loop_tests.py`` says how), a new one after each test that is not ok, so
that neither a hang nor a crash ends the run. Beside our loop stands asyncio's own, which shows what can pass on
this machine at all. Tests that another loop need not pass are named in ``loop_white_box.py``, each with its reason.

uvloop's tests are in its source distribution, which pip fetches once into ``.cache``; they run where uvloop is
installed (``make conformance-loop`` sees to that).

A suite may be run for one interpreter after the other: the result file keeps the rows that a run does not make again,
each with its commit.

The exit code is 1 when a test is not ok on the first loop, passes on asyncio's, and is not among the white-box ones.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tarfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import pythons
import test_all
from benches._children import run_in_group
from benches._result import RESULTS, header, write_result
from conformance import GOOD, Ended, NotTestedError, Run, Subject
from loop_tests import CONTROL

CHILD = Path(__file__).resolve().with_name("loop_tests.py")
ROOT = CHILD.parent.parent
CACHE = ROOT / ".cache"
OURS = "whichever:EventLoop"
RIVALS = {"uvloop": "uvloop:new_event_loop", "rloop": "rloop:new_event_loop"}
UVLOOP = "uvloop==0.23.0"
"""The version whose tests are run; another one's would be another suite."""
BOUND_S = 30.0
FETCH_S = 300
SLOW = ("test_tasks", "test_subprocess", "test_events")
"""Modules that take long; a job begins with one of these."""


@dataclass
class LoopRun(Run):
    """Some modules of a suite on one loop; the subject's start method is the suite's name.

    Attributes:
        modules: The modules to run; empty for all.
        tests: The folder of uvloop's tests.
    """

    modules: tuple[str, ...] = ()
    tests: Path | None = None

    def _process(self, events: Path, begin: int, folder: Path) -> str:
        subject = self.subject
        command = [subject.python, CHILD, subject.start_method, subject.executor, events]
        for module in self.modules:
            command += ["--module", module]
        if self.tests:
            command += ["--tests", self.tests]
        return run_in_group(
            [*command, "--from", begin, "--only", self.only, "--bound", self.bound], folder
        ).said


@dataclass(frozen=True)
class Held:
    """One suite on one loop.

    Attributes:
        version: The interpreter's.
        suite: Its name.
        loop: ``module:factory``.
        ended: Its tests.
    """

    version: str
    suite: str
    loop: str
    ended: list[Ended] = field(default_factory=list)

    def bad(self) -> list[Ended]:
        """Give the tests that are not ok."""
        return [test for test in self.ended if test.outcome not in GOOD]

    def row(self) -> dict[str, Any]:
        """Count them in a flat row."""
        ran = [test for test in self.ended if test.outcome != "skip"]
        ok = Counter(bool(test.private) for test in ran if test.outcome == "ok")
        white = sum(bool(test.private) for test in ran)
        return {
            "loop": self.loop.partition(":")[0],
            "CPython": self.version,
            "suite": self.suite,
            "passed": ok.total(),
            "of": len(ran),
            "white box, not passed": white - ok[True],
            "others, not passed": len(ran) - white - ok[False],
            "skipped": len(self.ended) - len(ran),
            "seconds": round(sum(test.seconds for test in self.ended)),
            "commit": header(repeats=1)["commit"],
        }


def modules_of(python: Path, suite: str, tests: Path | None) -> list[str]:
    """List the modules of a suite."""
    if suite == "uvloop" and tests:
        folder = tests / "tests"
    else:
        ask = "import test.test_asyncio as t; print(t.__path__[0])"
        done = subprocess.run([python, "-c", ask], capture_output=True, text=True, check=False)
        if done.returncode:
            msg = "it was installed without its own tests"
            raise NotTestedError(msg)
        folder = Path(done.stdout.strip())
    return sorted(path.stem for path in folder.glob("test_*.py"))


def shares(modules: list[str], jobs: int) -> list[tuple[str, ...]]:
    """Deal the modules out to the jobs, the slow ones first."""
    ordered = sorted(modules, key=lambda name: (name not in SLOW, name))
    return [tuple(ordered[job::jobs]) for job in range(min(jobs, len(ordered)))]


def hold(subject: Subject, options: argparse.Namespace, version: str) -> Held:
    """Run one suite on one loop, in as many jobs as there are cores."""
    tests = uvloop_tests(subject.python) if subject.start_method == "uvloop" else None
    found = modules_of(subject.python, subject.start_method, tests)
    wanted = [name for name in found if not options.module or name in options.module]

    def job(modules: tuple[str, ...]) -> list[Ended]:
        return LoopRun(subject, options.bound, options.only, modules=modules, tests=tests).finish()

    held = Held(version, subject.start_method, subject.executor)
    with ThreadPoolExecutor(options.jobs) as pool:
        for ended in pool.map(job, shares(wanted, options.jobs)):
            held.ended.extend(ended)
    return held


def uvloop_tests(python: Path) -> Path:
    """Give the folder of uvloop's source distribution, which pip fetches if it is not there yet."""
    needs = "import uvloop, aiohttp, psutil, OpenSSL"
    done = subprocess.run([python, "-c", needs], capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotTestedError(done.stderr.strip().rpartition("\n")[2])
    folder = CACHE / UVLOOP.replace("==", "-")
    if not folder.is_dir():
        CACHE.mkdir(exist_ok=True)
        command = [*test_all.PIP, "download", "--no-deps", "--no-binary", "uvloop", "--dest", CACHE, UVLOOP]
        done = subprocess.run(command, capture_output=True, text=True, timeout=FETCH_S, check=False)
        archive = CACHE / f"{folder.name}.tar.gz"
        if not archive.is_file():
            msg = f"no source distribution: {done.stderr.strip().rpartition(chr(10))[2]}"
            raise NotTestedError(msg)
        with tarfile.open(archive) as packed:
            packed.extractall(CACHE, filter="data")
    return folder


def is_installed(python: Path, loop: str) -> bool:
    """Say whether an interpreter has a loop."""
    module, _, name = loop.partition(":")
    ask = f"import {module}; {module}.{name}"
    return subprocess.run([python, "-c", ask], capture_output=True, check=False).returncode == 0


def interpreters(options: argparse.Namespace) -> dict[str, Path]:
    """Give the interpreters to test under, by version."""
    if not options.every_python:
        chosen = [path.absolute() for path in options.python or [Path(sys.executable)]]
        return {pythons.version_of(path) or str(path): path for path in chosen}
    found = {}
    for version in pythons.VERSIONS:
        base = pythons.find(version)
        if base:
            found[version] = test_all.environment(version, base)
            test_all.install(version, found[version])
        else:
            print(f"{version}: not found (make pythons)")
    return found


def run_all(options: argparse.Namespace) -> list[Held]:
    """Run everything that was asked for, saying each row as it is there."""
    every = []
    for version, python in interpreters(options).items():
        for suite in options.suite:
            for loop in options.loop:
                if not is_installed(python, loop):
                    print(f"{version} {suite} {loop}: not installed", flush=True)
                    continue
                try:
                    held = hold(Subject(loop, suite, python), options, version)
                except NotTestedError as reason:
                    print(f"{version} {suite} {loop}: not tested: {reason}", flush=True)
                    continue
                every.append(held)
                print(*held.row().values(), sep="  ", flush=True)
                if loop == options.loop[0]:
                    for test in held.bad():
                        print(
                            f"    {test.outcome}: {test.test}: {'; '.join(test.private) or test.why}",
                            flush=True,
                        )
    return every


def regressions(every: list[Held], first: str) -> list[dict[str, Any]]:
    """List what is not ok on the first loop and is ok on asyncio's, white-box tests apart."""
    control = {
        (held.version, held.suite, test.test): test.outcome
        for held in every
        if held.loop == CONTROL
        for test in held.ended
    }
    return [
        {
            "CPython": held.version,
            "suite": held.suite,
            "test": test.test,
            "outcome": test.outcome,
            "why": test.why,
        }
        for held in every
        if held.loop == first
        for test in held.bad()
        if not test.private and control.get((held.version, held.suite, test.test), "ok") == "ok"
    ]


def with_older(rows: list[dict[str, Any]], failed: list[dict[str, Any]], path: Path) -> dict[str, Any]:
    """Put what earlier runs found of other interpreters, suites and loops beside what this one has found."""
    new = {(row["CPython"], row["suite"], row["loop"]) for row in rows}
    again = {(version, suite) for version, suite, _ in new}
    record = json.loads(path.read_text()) if path.is_file() else {"results": {"rows": [], "failures": []}}
    before = record["results"]
    old = [
        {"commit": record["commit"]} | row
        for row in before["rows"]
        if (row["CPython"], row["suite"], row["loop"]) not in new
    ]
    left = [row for row in before["failures"] if (row["CPython"], row["suite"]) not in again]
    order = sorted([*old, *rows], key=lambda row: (row["suite"], row["CPython"], row["loop"] == "asyncio"))
    return {"rows": order, "failures": left + failed}


def asked(words: list[str] | None = None) -> argparse.Namespace:
    """Read the command line, or other words."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--loop", action="append", metavar="MODULE:FACTORY")
    parser.add_argument("--suite", action="append", choices=["cpython", "uvloop"])
    parser.add_argument("--module", action="append", default=[], help="only this module of the tests")
    parser.add_argument("--only", default="", help="part of the names of the tests to run")
    parser.add_argument("--python", action="append", type=Path, help="default: this interpreter")
    parser.add_argument("--every-python", action="store_true", help="install into and use all that are found")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--bound", type=float, default=BOUND_S, help="seconds for one test")
    parser.add_argument("--out", default="conformance_loop", help="name of the result file")
    parser.add_argument("--no-file", action="store_true", help="only print")
    options = parser.parse_args(words)
    options.loop = [RIVALS.get(name, name) for name in options.loop or [OURS, CONTROL, *RIVALS]]
    options.suite = options.suite or ["cpython", "uvloop"]
    return options


def main() -> int:
    """Run, print, write; return the exit code."""
    options = asked()
    every = run_all(options)
    failed = regressions(every, options.loop[0])
    rows = [held.row() for held in every]
    if rows and not options.no_file:
        print(write_result(options.out, with_older(rows, failed, RESULTS / f"{options.out}.json")))
    return int(bool(failed) or not rows)


if __name__ == "__main__":
    sys.exit(main())
