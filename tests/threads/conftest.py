"""Pools that end with their test, and a bound for each test: what hangs here is a broken promise."""

import pytest
from threads_waiting import until

import whichever

SECONDS = 40


def pytest_collection_modifyitems(items):
    for item in items:
        if "threads" in item.path.parts and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(SECONDS))


@pytest.fixture
def make_pool():
    """A function that makes pools. At the end their threads must end."""
    pools = []

    def make(workers=2, *arguments, **options):
        pools.append(whichever.ThreadPool(workers, *arguments, **options))
        return pools[-1]

    yield make
    for pool in pools:
        pool.shutdown(cancel_futures=True)
        # Threads whose tasks ran past their time are not waited for: they leave when their gate has opened.
        assert until(lambda pool=pool: pool.statistics().workers == 0)


@pytest.fixture
def pool(make_pool):
    """A pool of two threads."""
    return make_pool()
