"""Run CPython's own tests of queues in this process, on ours or on the standard ones.

    queue_tests.py SUITE ours|standard EVENTS [--bound SECONDS]

Suites: ``threads`` (Queue, LifoQueue and PriorityQueue of test_queue), ``simple`` (SimpleQueue's), ``processes``
(_TestQueue of _test_multiprocessing), ``tasks`` (test_queues of asyncio, on the async face). Each test class gets its
queue from a module that this program puts something else into; the tests stay as they are. What happens goes into
EVENTS, one JSON object a line. A test that runs past its bound ends the process.

It runs on interpreters that have nothing but their standard library and whichever.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import inspect
import multiprocessing
import os
import queue
import re
import types
import unittest
from pathlib import Path
from typing import Any, Generic, TypeVar

from cpython_tests import Recorder, name_of

PRIVATE = re.compile(
    r"\._(?:getters|putters|queue|unfinished_tasks|format|put|get|qsize)\b|_getters\[|_putters\[|_queue=\["
)
"""What a white-box test reads of a queue."""
T = TypeVar("T")
NAMES = ("Queue", "LifoQueue", "PriorityQueue")


def ours() -> Any:
    """Load the package whose queues are tested."""
    return importlib.import_module("whichever")


def async_face(kind: type) -> type:
    """Give a queue's async methods the names that asyncio's queues have."""

    class Face(kind[T], Generic[T]):  # type: ignore[misc,valid-type,index]
        put, get, join = kind.aput, kind.aget, kind.ajoin  # type: ignore[attr-defined]

    Face.__name__ = kind.__name__
    return Face


def threads(which: str) -> list[type]:
    """Give the test classes of thread queues."""
    tests = importlib.import_module("test.test_queue")
    module = queue
    if which == "ours":
        errors = {
            name: getattr(queue, name) for name in ("Empty", "Full", "ShutDown") if hasattr(queue, name)
        }
        module = types.SimpleNamespace(**errors, **{name: getattr(ours(), name) for name in NAMES})  # type: ignore[assignment]
    cases = (tests.QueueTest, tests.LifoQueueTest, tests.PriorityQueueTest)
    return [type(case.__name__, (case, unittest.TestCase), {"queue": module}) for case in cases]


def simple(which: str) -> list[type]:
    """Give the test class of SimpleQueue."""
    tests = importlib.import_module("test.test_queue")
    kind = ours().Queue if which == "ours" else queue.SimpleQueue

    def prepare(self: Any) -> None:
        self.type2test = kind
        tests.BaseSimpleQueueTest.setUp(self)

    return [
        type(
            "SimpleQueueTest",
            (tests.BaseSimpleQueueTest, unittest.TestCase),
            {"queue": queue, "setUp": prepare},
        )
    ]


def processes(which: str) -> list[type]:
    """Give the test class of process queues."""
    # The test class exists in this process alone, so a child has to be a copy of it.
    multiprocessing.set_start_method("fork")
    tests = importlib.import_module("test._test_multiprocessing")
    if which == "standard":
        return [type("TestQueue", (tests._TestQueue, tests.ProcessesMixin, unittest.TestCase), {})]  # noqa: SLF001
    make = staticmethod(ours().Queue)
    own = {"Queue": make, "JoinableQueue": make}
    return [type("TestQueue", (tests._TestQueue, tests.ProcessesMixin, unittest.TestCase), own)]  # noqa: SLF001


def tasks(which: str) -> list[type]:
    """Give the test classes of asyncio's queues."""
    if which == "ours":
        errors = {
            "QueueEmpty": ours().QueueEmpty,
            "QueueFull": ours().QueueFull,
            "QueueShutDown": ours().QueueClosed,
        }
        for name in NAMES:
            setattr(asyncio, name, async_face(getattr(ours(), name)))
        for name, error in errors.items():
            setattr(asyncio, name, error)
    tests = importlib.import_module("test.test_asyncio.test_queues")
    return [
        case
        for case in vars(tests).values()
        if isinstance(case, type)
        and issubclass(case, unittest.TestCase)
        and case.__module__ == tests.__name__
    ]


SUITES = {"threads": threads, "simple": simple, "processes": processes, "tasks": tasks}


def private_names(test: Any) -> list[str]:
    """Say which private names of a queue a test reads, in its own code."""
    source = inspect.getsource(getattr(type(test), test.id().rpartition(".")[2]))
    helpers = re.findall(r"self\.(_test_\w+)\(", source)
    source += "".join(inspect.getsource(getattr(type(test), name)) for name in helpers)
    return sorted(set(PRIVATE.findall(source)))


def main() -> None:
    """Run the tests that the command line names."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("suite", choices=list(SUITES))
    parser.add_argument("which", choices=["ours", "standard"])
    parser.add_argument("events", type=Path)
    parser.add_argument("--from", dest="begin", type=int, default=0)
    parser.add_argument("--bound", type=float, default=60.0)
    options = parser.parse_args()
    loader = unittest.TestLoader()
    found = [
        test for case in SUITES[options.suite](options.which) for test in loader.loadTestsFromTestCase(case)
    ]
    recorder = Recorder(options.events, options.bound)
    if not options.begin:
        recorder.write(
            plan=[{"test": name_of(test), "private": private_names(test)} for test in found], broken={}
        )
    unittest.TestSuite(found[options.begin :]).run(recorder)
    os._exit(0)


if __name__ == "__main__":
    main()
