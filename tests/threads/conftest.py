"""Pools that end with their test, and a bound for each test: what hangs here is a broken promise."""

import pytest

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
        assert pool.statistics().workers == 0


@pytest.fixture
def pool(make_pool):
    """A pool of two threads."""
    return make_pool()
