"""Hold our pools and futures against CPython's own tests of the standard ones.

    conformance.py [--threads] [--executor MODULE:CLASS ...] [--start-method NAME ...]
                   [--python PATH ... | --every-python] [--tests VERSION=FOLDER ...] [--only TEXT] [--bound SECONDS]
                   [--out NAME | --no-file]

The tests run in processes of their own (``cpython_tests.py`` says how), a new one after each test that is not ok,
so that neither a hang nor a crash ends the run. Each class is tested on the standard library's three start
methods, and on ``default``: as the class starts its workers when it is not told how. With ``--threads`` the thread
pool is tested instead, and the future by itself; ``start_method`` says ``threads`` or ``future`` then. Tests that
read private names are counted apart (``white_box.py`` says which and why). Beside the class stands the standard one,
run in the same minutes.

A CPython that was installed without its tests can be lent them: ``--tests 3.11=FOLDER`` names a folder that has its
``test`` package and nothing else, out of Debian's libpython3.11-testsuite and -stdlib, for one.

The exit code is 1 when a black-box test of the first class (of ours, with ``--threads``) is not ok.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import pythons
import test_all
from benches._children import run_in_group
from benches._result import write_result

CHILD = Path(__file__).resolve().with_name("cpython_tests.py")
STANDARD = "concurrent.futures:ProcessPoolExecutor"
EXECUTORS = ("whichever:ProcessPool", STANDARD)
THREADS = {
    "threads": ("whichever:ThreadPool", "concurrent.futures:ThreadPoolExecutor"),
    "future": ("whichever:Future", "concurrent.futures:Future"),
}
"""What is tested with ``--threads``, by the word that stands for the start method."""
START_METHODS = ("default", "fork", "forkserver", "spawn")
LACKS = {STANDARD: {"default"}, "loky:ProcessPoolExecutor": {"fork", "forkserver", "spawn"}}
"""Start methods a class is not tested on: the standard class's default is one of the others, and loky takes no
``mp_context``."""
GOOD = ("ok", "skip")
BOUND_S = 60.0
SHOWN = 300
"""Characters of an error that are kept."""
FOLDERS = re.compile(r"(?<![\w.])(?:/[\w.+-]+)+/")


Command = tuple[object, ...]


class NotTestedError(Exception):
    """Nothing could be tested; the message says why."""


@dataclass(frozen=True)
class Ended:
    """How one test ended.

    Attributes:
        test: Module, class and method.
        outcome: ``ok``, ``skip``, ``fail``, ``error``, ``hang`` or ``crash``.
        why: The error in one line; where it stood when it hung; empty when ok.
        private: The private names it reads; a black-box test reads none.
        seconds: How long it took.
    """

    test: str
    outcome: str
    why: str
    private: tuple[str, ...]
    seconds: float


@dataclass(frozen=True)
class Subject:
    """What is tested: one class, on one start method, under one interpreter.

    Attributes:
        executor: ``module:class``.
        start_method: One of `START_METHODS`.
        python: The interpreter, and whatever stands before it on a command line.
    """

    executor: str
    start_method: str
    python: Command


@dataclass
class Run:
    """One subject's way through the tests.

    Attributes:
        subject: What is tested.
        bound: Seconds for one test.
        only: Part of the names of the tests to run; empty for all.
        ended: The tests so far.
    """

    subject: Subject
    bound: float = BOUND_S
    only: str = ""
    ended: list[Ended] = field(default_factory=list)

    def finish(self) -> list[Ended]:
        """Run every test, in as many processes as that takes."""
        plan = self._start(0)
        while len(self.ended) < len(plan):
            done = len(self.ended)
            self._start(done, plan)
            if len(self.ended) == done:
                msg = f"the tests' process ended before it began {plan[done]['test']}"
                raise NotTestedError(msg)
        return self.ended

    def _start(self, begin: int, plan: list[dict[str, Any]] | None = None) -> list[dict[str, Any]]:
        """Run one process from the test of index `begin` on; note what ended, and return the plan."""
        with tempfile.TemporaryDirectory() as folder:
            events = Path(folder) / "events"
            events.touch()
            said = self._process(events, begin, Path(folder))
            lines = [json.loads(line) for line in events.read_text(encoding="utf-8").splitlines()]
        if plan is None:
            if not lines:
                raise NotTestedError(said.strip().rpartition("\n")[2] or "the tests' process said nothing")
            plan = lines[0]["plan"]
            for module, why in lines[0]["broken"].items():
                self.ended.append(Ended(module, "error", why, (), 0.0))
                plan.insert(0, {"test": module, "private": []})
        self._note(lines, plan, said)
        return plan

    def _process(self, events: Path, begin: int, folder: Path) -> str:
        """Run the child to its end, which comes by itself: it bounds its start and each test."""
        subject = self.subject
        command = [*subject.python, CHILD, subject.executor, subject.start_method, events]
        options = ["--from", begin, "--only", self.only, "--bound", self.bound]
        return run_in_group([*command, *options], folder).said

    def _note(self, lines: list[dict[str, Any]], plan: list[dict[str, Any]], said: str) -> None:
        """Read the events of one process."""
        private = {entry["test"]: tuple(entry["private"]) for entry in plan}
        begun = None
        for line in lines:
            if "begin" in line:
                begun = line["begin"]
            elif "end" in line:
                begun = None
                name = line["end"]
                why = in_one_line(line["why"])
                self.ended.append(Ended(name, line["outcome"], why, private.get(name, ()), line["seconds"]))
        if begun is not None:
            hung = "Timeout (" in said
            why = in_one_line(where_it_stood(said) if hung else said) or "no word"
            outcome = "hang" if hung else "crash"
            self.ended.append(Ended(begun, outcome, why, private[begun], self.bound))


def where_it_stood(dump: str) -> str:
    """Say where the main thread was, from faulthandler's dump of all threads, which names it last."""
    _, _, stack = dump.rpartition("(most recent call first):\n")
    frames = [line.strip() for line in stack.splitlines() if line.startswith("  File ")]
    return "stood in " + " < ".join(frames[:3])


def in_one_line(text: str) -> str:
    """Keep the end of an error, without the folders of one machine."""
    return " ".join(FOLDERS.sub("", text).split())[-SHOWN:]


def summary(version: str, subject: Subject, ended: list[Ended]) -> dict[str, Any]:
    """Count one subject's tests in a flat row."""
    black = Counter(test.outcome in GOOD for test in ended if not test.private and test.outcome != "skip")
    white = Counter(test.outcome in GOOD for test in ended if test.private and test.outcome != "skip")
    return {
        "executor": subject.executor,
        "CPython": version,
        "start_method": subject.start_method,
        "black_box_ok": f"{black[True]} of {black.total()}",
        "white_box_ok": f"{white[True]} of {white.total()}",
        "skipped": sum(test.outcome == "skip" for test in ended),
        "seconds": round(sum(test.seconds for test in ended)),
    }


def failures(version: str, subject: Subject, ended: list[Ended]) -> list[dict[str, Any]]:
    """List one subject's tests that are not ok."""
    return [
        {
            "executor": subject.executor,
            "CPython": version,
            "start_method": subject.start_method,
            "test": test.test,
            "outcome": test.outcome,
            "reads": ", ".join(test.private),
            "why": test.why,
        }
        for test in ended
        if test.outcome not in GOOD
    ]


def has_tests(python: Command) -> bool:
    """Say whether an interpreter has its tests."""
    ask = "import test.support.script_helper, test.test_concurrent_futures"
    return subprocess.run([*python, "-c", ask], capture_output=True, check=False).returncode == 0


def with_tests(options: argparse.Namespace, version: str, python: Path) -> Command:
    """Give the command that starts an interpreter with the tests that it was lent, if it was."""
    lent = dict(options.tests).get(version)
    return ("env", f"PYTHONPATH={Path(lent).absolute()}", python) if lent else (python,)


def interpreters(options: argparse.Namespace) -> dict[str, Command]:
    """Give the interpreters to test under, by version; with ``--every-python``, whichever is installed in each."""
    found = {}
    if not options.every_python:
        for path in options.python or [Path(sys.executable)]:
            version = pythons.version_of(path) or str(path)
            found[version] = with_tests(options, version, path.absolute())
        return {version: python for version, python in found.items() if has_tests(python)}
    for version in pythons.VERSIONS:
        base = pythons.find(version)
        if base and has_tests(with_tests(options, version, base)):
            python = test_all.environment(version, base)
            test_all.install(version, python)
            found[version] = with_tests(options, version, python)
        else:
            print(f"{version}: {'its tests are not installed' if base else 'not found (make pythons)'}")
    return found


def lent_tests(words: str) -> tuple[str, str]:
    """Read VERSION=FOLDER."""
    version, _, folder = words.partition("=")
    if not (Path(folder) / "test").is_dir():
        msg = f"{words!r}: say VERSION=FOLDER, with a folder that holds CPython's package test"
        raise argparse.ArgumentTypeError(msg)
    return version, folder


def subjects(options: argparse.Namespace) -> list[tuple[str, str]]:
    """Give the classes to test, each with a start method or the word that stands for it."""
    if options.threads:
        return [(executor, way) for way, executors in THREADS.items() for executor in executors]
    return [(executor, way) for executor in options.executor for way in start_methods(options, executor)]


def start_methods(options: argparse.Namespace, executor: str) -> list[str]:
    """Give the start methods to test a class on."""
    wanted = options.start_method or START_METHODS
    return [name for name in wanted if name not in LACKS.get(executor, ())]


def hold(options: argparse.Namespace, found: dict[str, Command]) -> dict[str, list[dict[str, Any]]]:
    """Run everything that was asked for, saying each row as it is there."""
    rows: list[dict[str, Any]] = []
    failed: list[dict[str, Any]] = []
    for version, python in found.items():
        for executor, start_method in subjects(options):
            subject = Subject(executor, start_method, python)
            try:
                ended = Run(subject, options.bound, options.only).finish()
            except NotTestedError as reason:
                print(f"{version} {executor} {start_method}: not tested: {reason}", flush=True)
                continue
            rows.append(summary(version, subject, ended))
            failed += failures(version, subject, ended)
            print(*rows[-1].values(), sep="  ", flush=True)
            for row in failures(version, subject, ended):
                kind = f"white box, reads {row['reads']}" if row["reads"] else "black box"
                print(f"    {row['outcome']}: {row['test']} ({kind}): {row['why']}", flush=True)
    return {"rows": rows, "failures": failed}


def asked() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", action="store_true", help="thread pools and futures")
    parser.add_argument("--executor", action="append", metavar="MODULE:CLASS")
    parser.add_argument("--start-method", action="append", choices=START_METHODS)
    parser.add_argument("--python", action="append", type=Path, help="default: this interpreter")
    parser.add_argument("--every-python", action="store_true", help="install into and use all that are found")
    parser.add_argument("--tests", action="append", type=lent_tests, default=[], metavar="VERSION=FOLDER")
    parser.add_argument("--only", default="", help="part of the names of the tests to run")
    parser.add_argument("--bound", type=float, default=BOUND_S, help="seconds for one test")
    parser.add_argument("--out", help="name of the result file")
    parser.add_argument("--no-file", action="store_true", help="only print")
    options = parser.parse_args()
    options.executor = options.executor or list(EXECUTORS)
    options.out = options.out or f"conformance_{'thread' if options.threads else 'process'}_pool"
    return options


def main() -> int:
    """Run, print, write; return the exit code."""
    options = asked()
    found = interpreters(options)
    if not found:
        print("no interpreter with CPython's tests; try --python, --every-python or --tests")
        return 2
    results = hold(options, found)
    if not results["rows"]:
        return 2
    if not options.no_file:
        print(write_result(options.out, results))
    tested = [ours for ours, _ in THREADS.values()] if options.threads else options.executor[:1]
    ours = [row for row in results["failures"] if row["executor"] in tested]
    return int(any(not row["reads"] for row in ours))


if __name__ == "__main__":
    sys.exit(main())
