"""Inside a worker of a pool, the advisor counts on the worker's share of the cores."""

import pytest

import whichever
from whichever.advisor import _machine

COSTS = {"cores": 8.0, "parallel": 6.0, "parallel_memory": 4.5, "gil": True, "engines": {}}


@pytest.fixture(autouse=True)
def _imagined(monkeypatch):
    cached = {"form": _machine._FORM, "facts": {}, "calibrated": 0.0, "costs": COSTS}
    monkeypatch.setattr(_machine, "_read", lambda _name: cached)
    monkeypatch.setattr("whichever.executors._cores_left._core.usable_cores", lambda: {"cores": 8.0})


def costs_in_a_worker_of(workers):
    with whichever.ThreadPool(workers) as pool:
        return pool.submit(whichever.machine).result().costs


def test_outside_of_pools_all_cores_count():
    costs = whichever.machine().costs
    assert (costs["cores"], costs["parallel"], costs["parallel_memory"]) == (8.0, 6.0, 4.5)


def test_a_worker_counts_on_its_share_and_what_that_gains():
    costs = costs_in_a_worker_of(2)
    assert costs["cores"] == 4.0
    assert costs["parallel"] == pytest.approx(1 + 5 * 3 / 7)
    assert costs["parallel_memory"] == pytest.approx(1 + 3.5 * 3 / 7)


def test_one_core_gains_nothing():
    costs = costs_in_a_worker_of(64)
    assert (costs["cores"], costs["parallel"], costs["parallel_memory"]) == (1.0, 1.0, 1.0)
