"""Run CPython's own tests of pools and futures in this process, on any class.

    cpython_tests.py MODULE:CLASS START_METHOD EVENTS [--from INDEX] [--only TEXT] [--bound SECONDS]

Each test class of ``test.test_concurrent_futures`` reads ``futures.ProcessPoolExecutor`` when it is defined. So the
class under test is put there first, and into the ``python -c`` children of the tests as well. The start method
``default`` runs the tests written for spawn without their ``mp_context`` argument: on whatever the class starts
its workers with when nobody says. Two more words stand where a start method does: ``threads`` runs the tests of
thread pools, and ``future`` those of futures.

What happens goes into the file EVENTS, one JSON object a line: the plan, then a line as each test begins and one
as it ends. Nothing goes by pipe, since a leftover worker would hold the pipe open. A test that runs past its bound
ends this process, with every thread's stack on standard error; so does the first test that is not ok, after its
line, for what it left behind must not meet the next test. Whoever started this process starts another one from
the next test on (``conformance.py`` does).

It runs on interpreters that have nothing but their standard library.
"""

from __future__ import annotations

import argparse
import faulthandler
import functools
import importlib
import json
import os
import sys
import textwrap
import time
import traceback
import unittest
from concurrent import futures
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PACKAGE = "test.test_concurrent_futures"
"""One module up to 3.11."""
COMMON = ("test_as_completed", "test_wait", "test_init", "test_shutdown")
PROCESSES = ("test_process_pool", *COMMON, "test_deadlock")
MODULES = {"threads": ("test_thread_pool", *COMMON), "future": ("test_future",)}
"""The modules to look in, where it is not `PROCESSES`."""
STOCK = {"threads": "ThreadPoolExecutor", "future": "Future"}
"""The standard class that is replaced, where it is not the process pool."""
WRITTEN_FOR = {"default": "spawn"}
"""Whose copy of the tests is run, where it is not the start method's own."""
OUTCOMES = ("ok", "skip", "fail", "error")
"""How a test may end, the better first; a test is as good as the worst thing it reported."""
SHOWN = 300
"""Characters of an error that are kept, from its end: there a child program says what it died of."""


def install(spec: str, start_method: str) -> None:
    """Put the class `spec` (``module:name``) where the tests look for the standard one."""
    module, _, name = spec.partition(":")
    pool = getattr(importlib.import_module(module), name)
    if start_method == "default":
        pool = without_context(pool)
    setattr(futures, STOCK.get(start_method, "ProcessPoolExecutor"), pool)
    if start_method == "future":
        base: Any = importlib.import_module("concurrent.futures._base")
        base.Future = pool
    # The tests' child programs import it by its own name.
    setattr(futures, pool.__name__, pool)


def without_context(pool: Any) -> Any:
    """Make a subclass that is never told how to start its workers."""

    def start(self: Any, *arguments: Any, mp_context: Any = None, **options: Any) -> None:
        del mp_context
        pool.__init__(self, *arguments, **options)

    return type(pool.__name__, (pool,), {"__init__": start, "__module__": pool.__module__})


def install_in_children(spec: str, start_method: str) -> None:
    """Make the tests' ``python -c`` children begin with the same replacement."""
    script_helper = importlib.import_module("test.support.script_helper")

    here = str(Path(__file__).resolve().parent)
    # They are started in isolated mode, but the class may be anywhere where this process finds it.
    before = (
        f"import sys; sys.path[:] = {[here, *sys.path]!r}; import cpython_tests; del sys.path[0]\n"
        f"cpython_tests.install({spec!r}, {start_method!r})\n"
    )

    def prefixed(run: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(run)
        def run_prefixed(*arguments: str, **options: Any) -> Any:
            words = list(arguments)
            code = words.index("-c") + 1
            words[code] = before + textwrap.dedent(words[code])
            return run(*words, **options)

        return run_prefixed

    for name in ("assert_python_ok", "assert_python_failure"):
        setattr(script_helper, name, prefixed(getattr(script_helper, name)))


def cases(way: str, broken: dict[str, str]) -> Iterator[type[unittest.TestCase]]:
    """List the tests' classes that are written for a start method, for threads or for futures.

    Args:
        way: The start method, or the word that stands in its place.
        broken: Receives the modules that do not load on the class under test, with the reason.
    """
    package = importlib.import_module(PACKAGE)
    parts = [f"{PACKAGE}.{name}" for name in MODULES.get(way, PROCESSES)]
    for name in parts if hasattr(package, "__path__") else [PACKAGE]:
        try:
            module = importlib.import_module(name)
        except AttributeError as error:
            broken[name] = f"the module does not load: {error}"
            continue
        for case in list(vars(module).values()):
            if (
                isinstance(case, type)
                and issubclass(case, unittest.TestCase)
                and case.__module__ == module.__name__
                and is_written_for(case, way)
            ):
                yield case


def is_written_for(case: type, way: str) -> bool:
    """Say whether a class of tests is one for this start method, for threads or for futures."""
    if way == "threads":
        return getattr(case, "executor_type", None) is futures.ThreadPoolExecutor
    if way == "future":
        return not hasattr(case, "executor_type")
    return bool(getattr(case, "ctx", None) == WRITTEN_FOR.get(way, way))


def name_of(test: Any) -> str:
    """Name a test without what every name has in common."""
    return str(test.id()).removeprefix(f"{PACKAGE}.").removeprefix("test.test_asyncio.")


class Recorder(unittest.TestResult):
    """Writes down how each test ended, and ends the process after the first that is not ok.

    Args:
        events: Where to write, one JSON object a line.
        bound: Seconds that a test may take.
    """

    def __init__(self, events: Path, bound: float) -> None:
        super().__init__()
        self._file = events.open("a", encoding="utf-8")
        self._bound = bound
        self._running: str | None = None
        self._begin = 0.0
        self._outcome = "ok"
        self._why = ""

    def write(self, **event: Any) -> None:
        """Write one event so that it is there even if the process ends right now."""
        self._file.write(json.dumps(event) + "\n")
        self._file.flush()

    def startTest(self, test: unittest.TestCase) -> None:
        """Say that a test begins, and start its clock."""
        super().startTest(test)
        self._running, self._begin = name_of(test), time.monotonic()
        self._outcome, self._why = "ok", ""
        self.write(begin=self._running)
        faulthandler.dump_traceback_later(self._bound, exit=True)

    def stopTest(self, test: unittest.TestCase) -> None:
        """Say how a test ended, the worst of what it reported."""
        # What lies between two tests, a module's clean-up for one, is bounded like a test.
        faulthandler.dump_traceback_later(self._bound, exit=True)
        seconds = round(time.monotonic() - self._begin, 3)
        self.write(end=self._running, outcome=self._outcome, why=self._why, seconds=seconds)
        self._running = None
        super().stopTest(test)
        if OUTCOMES.index(self._outcome) > OUTCOMES.index("skip"):
            # At once: what it left (a thread, a server process) may hold up clean-ups and exit hooks for ever.
            os._exit(0)

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        """Note a test that does not run here."""
        super().addSkip(test, reason)
        self._note("skip", reason)

    def addFailure(self, test: unittest.TestCase, err: Any) -> None:
        """Note an assertion that did not hold."""
        super().addFailure(test, err)
        self._note("fail", last_line(err))

    def addError(self, test: unittest.TestCase, err: Any) -> None:
        """Note an exception, which may come from a fixture between the tests."""
        super().addError(test, err)
        if self._running is None:  # a fixture of a module or a class
            self.write(end=name_of(test), outcome="error", why=last_line(err), seconds=0)
        self._note("error", last_line(err))

    def addSubTest(self, test: unittest.TestCase, subtest: unittest.TestCase, err: Any) -> None:
        """Note a part of a test; a failed part is a failed test."""
        super().addSubTest(test, subtest, err)
        if err is not None:
            failed = issubclass(err[0], test.failureException)
            self._note("fail" if failed else "error", last_line(err))

    def _note(self, outcome: str, why: str) -> None:
        if OUTCOMES.index(outcome) > OUTCOMES.index(self._outcome):
            self._outcome, self._why = outcome, why


def last_line(error: Any) -> str:
    """Say in one line what was raised."""
    text = "".join(traceback.format_exception_only(error[0], error[1]))
    return " ".join(text.split())[-SHOWN:]


def run(options: argparse.Namespace) -> None:
    """Write the plan, then run it from the asked index on."""
    install_in_children(options.executor, options.start_method)
    import white_box  # noqa: PLC0415 - the tests' child programs do without

    broken: dict[str, str] = {}
    loader = unittest.TestLoader()
    tests: list[Any] = [
        test for case in cases(options.start_method, broken) for test in loader.loadTestsFromTestCase(case)
    ]
    tests = [test for test in tests if options.only in name_of(test)]
    recorder = Recorder(options.events, options.bound)
    if not options.begin:
        private = white_box.private_names
        plan = [
            {"test": name_of(test), "private": sorted(private(type(test), test.id().rpartition(".")[2]))}
            for test in tests
        ]
        recorder.write(plan=plan, broken=broken)
    unittest.TestSuite(tests[options.begin :]).run(recorder)


def main() -> None:
    """Run the tests that the command line names."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("executor")
    parser.add_argument("start_method")
    parser.add_argument("events", type=Path)
    parser.add_argument("--from", dest="begin", type=int, default=0)
    parser.add_argument("--only", default="")
    parser.add_argument("--bound", type=float, default=60.0)
    options = parser.parse_args()
    faulthandler.dump_traceback_later(options.bound, exit=True)
    install(options.executor, options.start_method)
    run(options)
    os._exit(0)


if __name__ == "__main__":
    main()
