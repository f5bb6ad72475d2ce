"""One engine at a time: every test here runs once for each engine that exists in this interpreter."""

import contextlib
import os
import threading
import time
from pathlib import Path

import contract_tasks
import pytest

from whichever.executors import ENGINES, open_engine

AVAILABLE = [name for name, engine in ENGINES.items() if engine.unavailable() is None]


class Awaited:
    """A task as a coroutine function."""

    def __init__(self, fn):
        self._fn = fn

    async def __call__(self, item):
        return self._fn(item)


def task_for(name, fn):
    return Awaited(fn) if name == "async" else fn


def children(of):
    """Return the processes that descend from `of`, zombies too."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue
    found = {pid for pid, parent in parents.items() if parent == of}
    return found.union(*(children_in(parents, pid) for pid in found))


def children_in(parents, of):
    found = {pid for pid, parent in parents.items() if parent == of}
    return found.union(*(children_in(parents, pid) for pid in found))


def open_descriptors():
    found = {}
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # the descriptor of this very listing
            found[entry.name] = str(entry.readlink())
    return found


def eventually(condition, seconds=5.0):
    """Say whether `condition` comes true within the bound."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True


@pytest.fixture(params=AVAILABLE)
def name(request):
    return request.param


@pytest.fixture
def task(name):
    return lambda fn: task_for(name, fn)


@pytest.fixture
def engine(name):
    with open_engine(name, 2) as opened:
        yield opened


@pytest.fixture(scope="session", autouse=True)
def _warm():
    """Let every engine make what the process keeps for good, so that leaks can be told from it."""
    for each in AVAILABLE:
        with open_engine(each, 1) as opened:
            opened.run(task_for(each, contract_tasks.square), [1])


@pytest.fixture(autouse=True)
def _nothing_left_behind(_warm):
    with open_engine("processes", 1):
        pass  # the spare workers that are kept for the next pool are there again, if they had left
    before = len(open_descriptors()), children(os.getpid()), threading.active_count()
    yield
    left = lambda: (len(open_descriptors()), children(os.getpid()), threading.active_count())  # noqa: E731 - short
    # Spare workers leave when they have waited long: there may be less than before.
    is_clean = lambda: all(now <= then for now, then in zip(left(), before, strict=True))  # noqa: E731
    assert eventually(is_clean), (before, left(), open_descriptors())
