"""What arguments and results are measured to weigh and cost."""

from __future__ import annotations

import pickle
import threading
import time
import tracemalloc

import pytest

from whichever.advisor._payload import measure_payload


class Fussy:
    """Pickles, but does not load."""

    def __reduce__(self):
        return _refuse, ()


def _refuse():
    message = "will not load"
    raise ValueError(message)


def test_small_values_are_measured_both_ways():
    items, results = [list(range(100)), list(range(100))], ["a" * 1000, "b" * 1000]
    payload = measure_payload(len, items, results)
    assert payload.in_bytes == pytest.approx(len(pickle.dumps(items[0], 5)), abs=32)
    assert payload.out_bytes == pytest.approx(len(pickle.dumps(results[0], 5)), abs=32)
    assert 0 < payload.pickle_in < 0.01
    assert 0 < payload.unpickle_in < 0.01
    assert 0 < payload.pickle_out < 0.01
    assert 0 < payload.unpickle_out < 0.01
    assert payload.error is None


def test_sizes_are_means_of_different_values():
    payload = measure_payload(len, [b"a" * 100_000, b"b" * 300_000], [1])
    assert payload.in_bytes == pytest.approx(200_000, rel=0.01)


def test_what_does_not_pickle_is_told_and_the_rest_measured():
    payload = measure_payload(len, [1], [threading.Lock()])
    assert payload.in_bytes is not None
    assert payload.out_bytes is None
    assert payload.error.startswith("a result does not pickle")
    assert measure_payload(len, [threading.Lock()], [1]).error.startswith("an argument does not pickle")


def test_what_pickles_but_does_not_load_is_told():
    assert "will not load" in measure_payload(len, [Fussy()], [1]).error


def test_a_function_that_does_not_pickle_is_told():
    guard = threading.Lock()
    assert measure_payload(lambda: guard, [1], [1]).error.startswith("the function does not pickle")


def test_what_only_cloudpickle_takes_is_measured():
    payload = measure_payload(len, [lambda: 1], [1])
    assert payload.error is None
    assert payload.in_bytes > 100


def test_no_values_weigh_nothing():
    assert measure_payload(len, [], []).in_bytes == 0


@pytest.mark.parametrize(
    "item",
    [bytes(200 << 20), [bytes(100 << 20), bytes(100 << 20)], {"a": bytes(200 << 20)}],
    ids=["bytes", "list", "dict"],
)
def test_huge_values_are_weighed_without_a_second_copy(item):
    tracemalloc.start()
    started = time.thread_time()
    payload = measure_payload(len, [item], [item])
    seconds = time.thread_time() - started
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert payload.in_bytes == pytest.approx(200 << 20, rel=0.01)
    assert peak < 32 << 20
    assert seconds < 5
    assert payload.pickle_in + payload.unpickle_in < 0.002  # it travels beside the pickle
    assert payload.unpickle_out > 0.002  # but results that are kept fill fresh memory


def test_a_long_string_is_copied_on_both_sides():
    payload = measure_payload(len, ["a" * (100 << 20)], [1])
    assert payload.in_bytes == pytest.approx(100 << 20, rel=0.01)
    assert payload.pickle_in > 0.001  # 100 MiB do not move at 100 GB/s
    assert payload.unpickle_in > 0.001


def test_a_long_array_is_weighed_without_a_second_copy():
    numpy = pytest.importorskip("numpy")
    whole, cut = numpy.ones(50 << 17), numpy.ones((5 << 17, 20))[:, ::2]
    seconds = []
    for array in (whole, cut):
        payload = measure_payload(len, [array], [1])
        assert payload.in_bytes == pytest.approx(50 << 20, rel=0.01)
        assert payload.error is None
        seconds.append(payload.pickle_in + payload.unpickle_in)
    assert seconds[0] < 0.002 < seconds[1]  # the first lies in memory as it travels


@pytest.mark.parametrize("kind", [list, tuple, set, lambda numbers: dict.fromkeys(numbers, "value")])
def test_a_long_container_is_judged_by_its_beginning(kind):
    item = kind(range(10**6, 3 * 10**6))
    started = time.thread_time()
    payload = measure_payload(len, [item], [1])
    assert time.thread_time() - started < 5
    assert payload.in_bytes == pytest.approx(len(pickle.dumps(item, 5)), rel=0.1)
    assert payload.unpickle_in > 0.005


def test_bytes_that_a_worker_copies_are_told_from_arrays_that_it_maps():
    block = bytes(1 << 20)
    assert measure_payload(len, [block], [1]).in_copied == 1 << 20
    assert measure_payload(len, [(block, "name", block)], [1]).in_copied == 2 << 20
    assert measure_payload(len, [pickle.PickleBuffer(block)], [1]).in_copied == 0
