"""Pools that end with their test, and a bound for each test: what hangs here is a broken promise."""

import pytest
from watching import is_alive, until

import whichever

SECONDS = 40


def pytest_collection_modifyitems(items):
    for item in items:
        if "pool" in item.path.parts and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(SECONDS))


@pytest.fixture
def make_pool():
    """A function that makes pools. At the end none of their workers may be left."""
    pools = []

    def make(workers=2, **arguments):
        pools.append(whichever.ProcessPool(workers, **arguments))
        return pools[-1]

    yield make
    for pool in pools:
        pids = pool.worker_pids()
        pool.kill_workers()
        assert until(lambda pids=pids: not any(map(is_alive, pids))), "workers outlive their pool"


@pytest.fixture
def pool(make_pool):
    """A pool of two workers."""
    return make_pool()
