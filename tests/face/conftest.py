"""One pool at a time: every test here runs once for each pool that exists in this interpreter."""

import asyncio

import pytest
from waiting import eventually

import whichever

KINDS = [
    name
    for name in ("SerialPool", "ThreadPool", "AsyncPool", "InterpreterPool", "ProcessPool", "Pool")
    if name in whichever.__all__
]
SECONDS = 40
SIZE = {"Pool": "workers"}
"""What the number of workers is called, where it is not ``max_workers``."""


def exists(kind):
    try:
        make(kind, 1).shutdown()
    except whichever.EngineUnavailableError:
        return False
    return True


def make(kind, workers, **arguments):
    return getattr(whichever, kind)(**{SIZE.get(kind, "max_workers"): workers}, **arguments)


class Awaited:
    """A task as a coroutine function."""

    def __init__(self, fn):
        self.fn = fn
        self.__qualname__ = getattr(fn, "__qualname__", repr(fn))

    async def __call__(self, /, *args, **kwargs):
        return await asyncio.to_thread(self.fn, *args, **kwargs)


def pytest_collection_modifyitems(items):
    for item in items:
        if "face" in item.path.parts and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(SECONDS))


def pytest_generate_tests(metafunc):
    if "kind" in metafunc.fixturenames:
        but = {name for mark in metafunc.definition.iter_markers("but") for name in mark.args}
        metafunc.parametrize("kind", [kind for kind in KINDS if kind not in but and exists(kind)])


def pytest_configure(config):
    config.addinivalue_line("markers", "but(kind): not for this pool, whose corner it is")


@pytest.fixture
def task(kind):
    """A function that makes a task of a function."""
    return Awaited if kind == "AsyncPool" else lambda fn: fn


@pytest.fixture
def new_pool(kind):
    """Make a pool that nobody else keeps."""
    return lambda: make(kind, 2)


@pytest.fixture
def make_pool(kind):
    pools = []

    def make_one(workers=2, **arguments):
        pools.append(make(kind, workers, **arguments))
        return pools[-1]

    yield make_one
    for pool in pools:
        pool.shutdown(cancel_futures=True)


@pytest.fixture
def pool(make_pool):
    return make_pool()


@pytest.fixture
def until():
    return eventually


def count(path):
    """Return how many tasks have marked the file."""
    return len(path.read_text().splitlines()) if path.exists() else 0


@pytest.fixture
def marks():
    return count
