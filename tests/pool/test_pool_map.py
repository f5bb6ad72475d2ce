"""`map`: lazy, ordered or not, given up when nobody wants the rest; and pools inside pools."""

import functools
import gc
import itertools
import threading
import time
import weakref
from concurrent import futures
from pathlib import Path

import pool_tasks as tasks
import pytest


class Counted:
    """An endless iterator that counts what was taken of it."""

    def __init__(self):
        self.taken = 0

    def __iter__(self):
        return self

    def __next__(self):
        self.taken += 1
        return self.taken


class Unpicklable:
    def __reduce__(self):
        raise KeyError("no pickle")


def test_results_come_in_the_items_order(pool):
    assert list(pool.map(tasks.square, range(1000))) == [item * item for item in range(1000)]
    seconds = [0.05, 0.0, 0.03, 0.01, 0.0]
    assert list(pool.map(tasks.nap, seconds)) == seconds


def test_several_iterables_are_taken_together_until_the_shortest_ends(pool):
    assert list(pool.map(tasks.add, range(5), [10, 20, 30], itertools.count(100))) == [110, 122, 134]
    assert list(pool.map(tasks.same, [])) == []
    assert list(pool.map(tasks.add, [], range(5))) == []


def test_items_that_are_tuples_stay_one_argument(pool):
    assert list(pool.map(tasks.same, [(1, 2), (3,)])) == [(1, 2), (3,)]


@pytest.mark.parametrize("chunksize", [1, 3, 1000])
def test_every_chunk_size_gives_the_same_results(pool, chunksize):
    assert list(pool.map(tasks.square, range(100), chunksize=chunksize)) == [
        item * item for item in range(100)
    ]


def test_an_endless_iterator_is_taken_only_a_little_ahead(pool):
    items = Counted()
    results = pool.map(tasks.nap_briefly, items)
    assert [next(results) for _ in range(5)] == [1, 2, 3, 4, 5]
    assert items.taken < 2000
    results.close()
    taken = items.taken
    assert pool.submit(tasks.same, 1).result() == 1
    assert items.taken == taken


def test_tasks_of_unknown_length_are_begun_with_a_few_items(pool, tmp_path):
    items = Counted()
    results = pool.map(tasks.wait_for, itertools.repeat(str(tmp_path / "runs")), _gates(items, tmp_path))
    assert items.taken <= 40
    (tmp_path / "gate").touch()
    next(results)
    results.close()


def _gates(items, folder):
    for _ in items:
        yield str(folder / "gate")


@pytest.mark.parametrize("size", [1, 2, 7])
def test_no_more_than_buffersize_items_are_ahead_of_the_results(pool, size):
    items = Counted()
    results = pool.map(tasks.same, items, buffersize=size)
    assert items.taken <= size
    for taken in range(1, 50):
        assert next(results) == taken
        assert items.taken <= taken + size
    results.close()


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"chunksize": 0}, ValueError),
        ({"buffersize": 0}, ValueError),
        ({"buffersize": -1}, ValueError),
        ({"buffersize": 2.0}, TypeError),
        ({"timeout": float("nan")}, ValueError),
    ],
)
def test_sizes_that_mean_nothing_are_refused_at_once(pool, arguments, error):
    with pytest.raises(error):
        pool.map(tasks.same, [1], **arguments)


def test_map_over_something_that_cannot_be_iterated_fails_at_once(pool):
    with pytest.raises(TypeError):
        pool.map(tasks.same, 5)


def test_unordered_results_come_as_they_arrive(pool, tmp_path):
    gate = tmp_path / "gate"
    gates = [str(gate), *[str(tmp_path)] * 9]
    results = pool.map(_wait_and_say, range(10), gates, ordered=False)
    early = [next(results) for _ in range(9)]
    assert sorted(early) == list(range(1, 10))
    gate.touch()
    assert list(results) == [0]


def _wait_and_say(number, gate):
    tasks.wait_for(f"{gate}/runs" if number else f"{gate}.runs", gate)
    return number


def test_unordered_results_of_an_endless_iterator(pool):
    items = Counted()
    results = pool.map(tasks.same, items, ordered=False)
    assert set(itertools.islice(results, 500)) <= set(range(1, items.taken + 1))
    results.close()


def test_an_error_of_a_task_comes_in_its_place_and_ends_the_iterator(pool):
    results = pool.map(tasks.invert, [4, 2, 0, 1])
    assert (next(results), next(results)) == (0.25, 0.5)
    with pytest.raises(ZeroDivisionError):
        next(results)
    with pytest.raises(StopIteration):
        next(results)
    assert pool.submit(tasks.same, 1).result() == 1


class Scaled:
    def __init__(self, factor):
        self.factor = factor

    def __call__(self, number):
        return self.factor * number

    def plus(self, number):
        return self.factor + number


@pytest.mark.parametrize(
    ("called", "third"),
    [
        (Scaled(7), 14),
        (Scaled(7).plus, 9),
        (str, "2"),
        (functools.partial(max, 5), 5),
        ([9, 8, 7].__getitem__, 7),
    ],
)
def test_whatever_can_be_called_can_be_mapped(pool, called, third):
    assert list(pool.map(called, range(3)))[2] == third


def test_a_task_that_raises_stop_iteration_fails(pool):
    results = pool.map(tasks.raise_stop, [1, 2])
    with pytest.raises(RuntimeError, match="raised StopIteration") as caught:
        next(results)
    assert str(caught.value.__cause__) == "enough"
    assert list(results) == []


def test_an_error_of_the_iterable_comes_from_the_iterator_or_the_call(pool):
    def broken():
        yield 1
        yield 2
        raise LookupError("no more items")

    with pytest.raises(LookupError, match="no more items"):
        list(pool.map(tasks.same, broken()))
    assert pool.submit(tasks.same, 1).result() == 1


def test_an_item_that_does_not_pickle_fails_in_its_place(pool):
    results = pool.map(tasks.same, [1, Unpicklable(), 3])
    assert next(results) == 1
    with pytest.raises(KeyError, match="no pickle"):
        next(results)


def test_a_function_that_does_not_pickle_is_refused(pool):
    lock = threading.Lock()
    with pytest.raises(TypeError, match="pickle"):
        list(pool.map(lambda item: (lock, item), [1]))


def test_the_timeout_is_for_all_results_together(pool, tmp_path):
    pool.submit(tasks.nap, 0).result()  # a worker is there
    begun = time.monotonic()
    results = pool.map(tasks.nap, [0, 0, 30, 30, 30], timeout=1.5)
    assert [next(results), next(results)] == [0, 0]
    with pytest.raises(futures.TimeoutError):
        next(results)
    assert 1.5 <= time.monotonic() - begun < 10
    with pytest.raises(StopIteration):
        next(results)


@pytest.mark.parametrize("how", ["close", "drop", "error", "timeout"])
def test_what_nobody_waits_for_any_more_is_not_begun(make_pool, tmp_path, how):
    pool = make_pool(1)
    path, gate = str(tmp_path / "runs"), tmp_path / "gate"
    gates = [str(tmp_path), *[str(gate)] * 300]
    results = pool.map(tasks.wait_for, [path] * 301, gates, timeout=0.3 if how == "timeout" else None)
    if how != "timeout":
        next(results)
    if how == "close":
        results.close()
        assert list(results) == []
    elif how == "timeout":
        with pytest.raises(futures.TimeoutError):
            list(results)
    elif how == "error":
        results = _raise_in_between(results)
    del results
    gc.collect()
    gate.touch()
    pool.shutdown()
    begun = (
        Path(path).read_text().splitlines() if Path(path).exists() else []
    )  # the time may be over before the first
    assert len(begun) <= 3
    assert pool.statistics().cancelled >= 298


def _raise_in_between(results):
    with pytest.raises(ZeroDivisionError):
        for _ in [results]:
            raise ZeroDivisionError


def test_a_map_iterator_holds_no_item_after_its_result(pool):
    class Item:
        pass

    items = [Item() for _ in range(3)]
    watched = [weakref.ref(item) for item in items]
    results = pool.map(type, iter(items))
    del items
    list(results)
    gc.collect()
    assert [reference() for reference in watched] == [None] * 3


def test_the_pool_lives_while_a_map_over_it_is_read(make_pool):
    def squares():
        return make_pool(1).map(tasks.square, itertools.count())

    results = squares()
    gc.collect()
    assert [next(results) for _ in range(100)] == [item * item for item in range(100)]
    results.close()


def test_shutdown_lets_a_map_finish_what_was_taken_in(make_pool):
    pool = make_pool(1)
    results = pool.map(tasks.square, range(50))
    pool.shutdown()
    assert list(results) == [item * item for item in range(50)]


@pytest.mark.parametrize("buffersize", [None, 3])
def test_a_map_over_a_generator_hands_nothing_in_after_shutdown(make_pool, buffersize):
    pool = make_pool(1)
    results = pool.map(tasks.square, itertools.count(), buffersize=buffersize)
    assert next(results) == 0
    pool.shutdown()
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        list(results)
    assert pool.worker_pids() == ()


def test_a_map_inside_the_iterable_of_a_map(pool):
    assert list(pool.map(tasks.square, pool.map(tasks.square, range(30)))) == [item**4 for item in range(30)]
    endless = pool.map(tasks.square, pool.map(tasks.same, itertools.count()))
    assert list(itertools.islice(endless, 100)) == [item * item for item in range(100)]
    endless.close()


def test_submitting_while_a_map_is_read(pool):
    for item, squared in enumerate(pool.map(tasks.square, range(50))):
        assert pool.submit(tasks.square, item).result() == squared


def test_two_threads_that_advance_one_iterator_lose_nothing(pool):
    results = pool.map(tasks.same, range(500))
    seen = []

    def read():
        while True:
            try:
                seen.append(next(results))
            except ValueError:  # as a generator says it: already executing
                continue
            except StopIteration:
                return

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert sorted(seen) == list(range(500))


def test_a_task_may_have_a_pool_of_its_own(pool):
    def outer(first):
        import whichever

        with whichever.ProcessPool(1) as inner:
            return sum(inner.map(lambda item: item + first, range(5)))

    assert list(pool.map(outer, [0, 10])) == [10, 60]


def test_the_pool_itself_does_not_travel_into_its_tasks(pool):
    with pytest.raises(TypeError, match="pickle"):
        pool.submit(lambda: pool.submit(tasks.same, 1)).result()


def test_large_and_small_items_are_mixed_in_order(pool):
    items = [bytes([number]) * (200_000 if number % 3 else 3) for number in range(60)]
    assert list(pool.map(tasks.same, items)) == items


def test_a_map_over_options_obeys_them(pool, tmp_path):
    path = str(tmp_path / "died")
    assert list(pool.options(retries=1).map(tasks.die_once, [path] * 5, range(5))) == list(range(5))
    assert pool.statistics().retried >= 1


def test_a_hundred_thousand_items_return_in_order(pool):
    count = 100_000
    assert sum(value != item + 1 for item, value in enumerate(pool.map(tasks.increment, range(count)))) == 0


def test_a_map_that_nobody_reads_runs_all_its_tasks(make_pool, tmp_path):
    path = tmp_path / "runs"
    with make_pool(2) as pool:
        pool.map(tasks.mark, [str(path)] * 300)
    with open(path) as file:
        assert len(file.readlines()) == 300
    pool = make_pool(2)
    pool.map(tasks.same, range(250_000))  # more than is taken in before results are
    pool.shutdown()
    assert pool.statistics().returned == 250_000


def test_a_map_over_a_generator_that_nobody_reads_warns(pool):
    with pytest.warns(RuntimeWarning, match="dropped before its results were read"):
        pool.map(tasks.same, itertools.count())
    assert pool.submit(tasks.same, 1).result() == 1
