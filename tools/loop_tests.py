"""Run CPython's own tests of asyncio, or uvloop's, in this process, on any event loop.

    loop_tests.py cpython|uvloop MODULE:FACTORY EVENTS [--tests FOLDER] [--module NAME ...] [--from INDEX]
                  [--only TEXT] [--bound SECONDS]

FACTORY makes a loop when it is called without arguments; ``asyncio:SelectorEventLoop`` is the control run.

``cpython``: whatever in ``test.test_asyncio`` makes a loop (the selector loop's name, the policy) makes one of these.
``uvloop``: the tests of uvloop's source distribution, which lies in FOLDER, have a hook for that; the control run
takes the half of them that is meant for asyncio. This suite needs uvloop itself, aiohttp, psutil and pyOpenSSL.

What happens goes into the file EVENTS, and the process ends after the first test that is not ok or runs past its
bound, as ``cpython_tests.py`` says. It runs on interpreters that have nothing but their standard library.
"""

from __future__ import annotations

import argparse
import asyncio
import faulthandler
import importlib
import os
import signal
import sys
import unittest
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cpython_tests import Recorder, name_of
from loop_white_box import NOT_OF_A_LOOP, WHITE_BOX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Factory = Callable[[], asyncio.AbstractEventLoop]

CONTROL = "asyncio:SelectorEventLoop"


def factory_of(spec: str) -> Factory:
    """Load the callable ``module:name``."""
    module, _, name = spec.partition(":")
    made: Factory = getattr(importlib.import_module(module), name)
    return made


def stand_in(factory: Factory) -> type:
    """Make a class that makes such loops whatever its arguments are, and takes them for its instances."""
    loop = factory()
    kind = type(loop)
    loop.close()

    class Meta(type):
        def __instancecheck__(cls, thing: object) -> bool:
            return isinstance(thing, kind)

        def __call__(cls, *_arguments: Any, **_options: Any) -> Any:
            return factory()

    return Meta("SelectorEventLoop", (), {})


def install(factory: Factory) -> None:
    """Put the loop where asyncio's tests, `asyncio.run` and `asyncio.new_event_loop` look for one."""
    instead = stand_in(factory)
    for name in ("SelectorEventLoop", "EventLoop"):
        if hasattr(asyncio, name):
            setattr(asyncio, name, instead)
    policies = ("_DefaultEventLoopPolicy", "DefaultEventLoopPolicy")
    for policy in {getattr(asyncio, name) for name in policies if hasattr(asyncio, name)}:
        policy._loop_factory = staticmethod(factory)  # noqa: SLF001 - the one hook that policies have
    # The tests' own way to close a loop reads an attribute that only asyncio's have.
    utils = importlib.import_module("test.test_asyncio.utils")
    original = utils.TestCase.close_loop

    def close_loop(loop: Any) -> None:
        if hasattr(loop, "_default_executor"):
            original(loop)
            return
        if not loop.is_closed():
            loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()

    utils.TestCase.close_loop = staticmethod(close_loop)


def of_cpython(spec: str, options: argparse.Namespace) -> Iterator[Any]:
    """List CPython's tests, after the loop was put in place."""
    warnings.simplefilter("ignore")
    factory = factory_of(spec)
    if spec != CONTROL:
        install(factory)
    support = importlib.import_module("test.support")
    support.use_resources = ["network", "cpu"]
    package = importlib.import_module("test.test_asyncio")
    names = sorted(path.stem for path in Path(package.__path__[0]).glob("test_*.py"))
    for name in names:
        if name not in NOT_OF_A_LOOP and (not options.module or name in options.module):
            module = importlib.import_module(f"test.test_asyncio.{name}")
            yield from flat(unittest.defaultTestLoader.loadTestsFromModule(module))


def of_uvloop(spec: str, options: argparse.Namespace) -> Iterator[Any]:
    """List uvloop's tests, after the loop was put in place."""
    warnings.simplefilter("ignore")
    factory = factory_of(spec)
    base = importlib.import_module("uvloop._testbase")
    kind = base.AIOTestCase if spec == CONTROL else base.UVTestCase
    if not spec.startswith("uvloop:"):
        # Not asyncio.DefaultEventLoopPolicy itself: its hook would change asyncio's own loops, too.
        policy = type("Policy", (asyncio.DefaultEventLoopPolicy,), {"_loop_factory": staticmethod(factory)})
        kind.new_loop = lambda _self: factory()
        kind.new_policy = lambda _self: policy()
        importlib.import_module("uvloop").new_event_loop = factory  # type: ignore[attr-defined]
    sys.path.insert(0, str(options.tests))
    for path in sorted((options.tests / "tests").glob("test_*.py")):
        if path.stem not in NOT_OF_A_LOOP and (not options.module or path.stem in options.module):
            module = importlib.import_module(f"tests.{path.stem}")
            found = flat(unittest.defaultTestLoader.loadTestsFromModule(module))
            yield from (test for test in found if isinstance(test, kind))


def flat(suite: unittest.TestSuite) -> Iterator[Any]:
    """List the tests of a suite of suites."""
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from flat(test)
        else:
            yield test


SUITES = {"cpython": of_cpython, "uvloop": of_uvloop}


class LoopRecorder(Recorder):
    """Leaves no running loop behind for the next test."""

    def stopTest(self, test: unittest.TestCase) -> None:
        """Say how a test ended."""
        super().stopTest(test)
        asyncio._set_running_loop(None)  # noqa: SLF001 - a loop that broke while it ran is still set


def main() -> None:
    """Run the tests that the command line names."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("suite", choices=list(SUITES))
    parser.add_argument("loop")
    parser.add_argument("events", type=Path)
    parser.add_argument("--tests", type=Path)
    parser.add_argument("--module", action="append", default=[])
    parser.add_argument("--from", dest="begin", type=int, default=0)
    parser.add_argument("--only", default="")
    parser.add_argument("--bound", type=float, default=30.0)
    options = parser.parse_args()
    faulthandler.dump_traceback_later(options.bound, exit=True)
    # A shell that runs this in the background has SIGINT ignored; tests send it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    found = [test for test in SUITES[options.suite](options.loop, options) if options.only in name_of(test)]
    recorder = LoopRecorder(options.events, options.bound)
    if not options.begin:
        plan = [
            {
                "test": name_of(test),
                "private": [WHITE_BOX[name_of(test)]] if name_of(test) in WHITE_BOX else [],
            }
            for test in found
        ]
        recorder.write(plan=plan, broken={})
    unittest.TestSuite(found[options.begin :]).run(recorder)
    os._exit(0)


if __name__ == "__main__":
    main()
