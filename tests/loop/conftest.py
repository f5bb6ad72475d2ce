"""Every test here runs on asyncio's loop and on ours: what asyncio's does is what ours has to do."""

import asyncio
import gc
import importlib
import importlib.util
import os
import sys
import warnings
from pathlib import Path

import pytest

import whichever

KINDS = ["asyncio", "whichever"]
ROOT = Path(__file__).resolve().parents[2]
HERE = str(Path(__file__).resolve().parent)


@pytest.fixture(params=KINDS)
def kind(request):
    """Name the loop of this turn."""
    if request.param == "whichever" and not hasattr(whichever, "EventLoop"):
        pytest.skip("this build has no whichever.EventLoop")
    return request.param


@pytest.fixture
def new_loop(kind):
    """Return what makes a loop of one kind."""
    return asyncio.SelectorEventLoop if kind == "asyncio" else whichever.EventLoop


@pytest.fixture
def loop(new_loop):
    """Make a loop that is closed at the end, with every error that it was told of counted as the test's."""
    told = []
    made = new_loop()
    made.set_exception_handler(lambda _loop, context: told.append(context))
    made.told = told
    before = descriptors()
    yield made
    if not made.is_closed():
        made.run_until_complete(made.shutdown_asyncgens())
        made.run_until_complete(made.shutdown_default_executor())
    # What a transport leaves to the next turn is part of what it does.
    made.close()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
    left = descriptors()
    assert len(left) <= len(before), f"descriptors are left: {left - before}"
    assert not told, told


def descriptors():
    """List the open descriptors of this process."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue
        # What every process has, and what the interpreter opens once and keeps.
        if not target.startswith(("/dev/", "/proc/")):
            found.add((name, target))
    return found


@pytest.fixture
def run(loop):
    """Run a coroutine on the loop, within a bound."""

    def to_the_end(work):
        asyncio.set_event_loop(None)
        return loop.run_until_complete(asyncio.wait_for(work, 30))

    return to_the_end


@pytest.fixture
def room(monkeypatch):
    """Import a module of tools/ or benches/ by its name; child processes find what stands here, too."""
    monkeypatch.setenv("PYTHONPATH", HERE)

    def load(folder, name):
        monkeypatch.syspath_prepend(str(ROOT / folder))
        return importlib.import_module(name)

    return load


@pytest.fixture
def cpython_has_tests():
    """Skip where the interpreter was installed without its own tests of asyncio."""
    try:
        found = importlib.util.find_spec("test.test_asyncio.utils")
    except ModuleNotFoundError:
        found = None
    if found is None:
        version = ".".join(map(str, sys.version_info[:2]))
        pytest.skip(f"this CPython {version} has no test.test_asyncio package")
