"""Auto pools that remember nothing of other runs."""

import sys
from pathlib import Path

import pytest

import whichever

sys.path.insert(0, str(Path(__file__).parent))


def pytest_collection_modifyitems(items):
    for item in items:
        if "auto" in item.path.parts and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(60))


@pytest.fixture
def make_pool(monkeypatch):
    monkeypatch.delenv("WHICHEVER_ENGINE", raising=False)
    pools = []

    def make(*args, **kwargs):
        pools.append(whichever.Pool(*args, **{"remember": False, **kwargs}))
        return pools[-1]

    yield make
    for pool in pools:
        pool.shutdown(cancel_futures=True)


@pytest.fixture
def pool(make_pool):
    return make_pool()


@pytest.fixture
def engines():
    """A function that names the engines that a pool chose, in order, each once in a row."""

    def chosen(pool):
        names = []
        for decision in pool.history():
            if names[-1:] != [decision.engine]:
                names.append(decision.engine)
        return names

    return chosen
