"""`map`: lazy, ordered or not, given up when nobody wants the rest; the same in every pool."""

import functools
import gc
import itertools
import time
import weakref
from concurrent import futures

import face_tasks as tasks
import pytest
from waiting import eventually


class Counted:
    """An endless iterator that counts what was taken of it."""

    def __init__(self):
        self.taken = 0

    def __iter__(self):
        return self

    def __next__(self):
        self.taken += 1
        return self.taken


def test_results_come_in_the_items_order(pool, task):
    assert list(pool.map(task(tasks.square), range(300))) == [item * item for item in range(300)]
    seconds = [0.05, 0.0, 0.03, 0.01, 0.0]
    assert list(pool.map(task(tasks.nap), seconds)) == seconds
    assert list(pool.map(task(tasks.nap), iter(seconds))) == seconds


def test_several_iterables_are_taken_together_until_the_shortest_ends(pool, task):
    add = task(tasks.add)
    assert list(pool.map(add, range(5), [10, 20, 30], itertools.count(100))) == [110, 122, 134]
    assert list(pool.map(add, [])) == list(pool.map(add, [], range(5))) == []


def test_items_that_are_tuples_stay_one_argument(pool, task):
    assert list(pool.map(task(tasks.same), [(1, 2), (3,)])) == [(1, 2), (3,)]


@pytest.mark.but("AsyncPool")  # these tasks go through asyncio.to_thread, which never ends then on 3.11
@pytest.mark.parametrize("kind_of_items", [list, iter])
@pytest.mark.parametrize("last", [0, 5, 700])
def test_a_stop_iteration_of_a_task_does_not_cut_the_results_short(pool, task, kind_of_items, last):
    seen = []
    with pytest.raises(RuntimeError, match="raised StopIteration"):
        seen.extend(pool.map(task(functools.partial(tasks.stop_at, last)), kind_of_items(range(1000))))
    assert seen == list(range(last))


@pytest.mark.parametrize("chunksize", [1, 3, 1000])
def test_every_chunk_size_gives_the_same_results(pool, task, chunksize):
    expected = [item * item for item in range(50)]
    assert list(pool.map(task(tasks.square), range(50), chunksize=chunksize)) == expected


def test_an_endless_iterator_is_taken_only_a_little_ahead(kind, pool, task):
    items = Counted()
    results = pool.map(task(tasks.same), items)
    assert items.taken <= (130 if kind == "Pool" else 16)
    assert list(itertools.islice(results, 200)) == list(range(1, 201))
    assert items.taken < 40_000
    results.close()
    taken = items.taken
    assert pool.submit(task(tasks.same), 1).result() == 1
    assert items.taken == taken


@pytest.mark.but("SerialPool", "Pool")  # whose first tasks run here
def test_short_tasks_of_a_generator_are_taken_further_and_further_ahead(pool, task):
    items = Counted()
    furthest = 0
    for read, _ in enumerate(pool.map(task(tasks.same), items)):
        furthest = max(furthest, items.taken - read)
        if furthest > 64 or read > 20_000:
            break
    assert furthest > 64  # it begins with 8


def test_a_slow_reader_is_not_run_away_from(kind, pool, task):
    items = Counted()
    results = pool.map(task(tasks.nap), (0.001 * (item > 0) for item in items))
    for _ in range(20):
        next(results)
        time.sleep(0.004)  # longer than the workers need: they always have waited for the reader
    assert items.taken <= 20 + (600 if kind == "Pool" else 100)  # whose threads are many when tasks wait
    results.close()


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("size", [1, 2, 7])
def test_no_more_than_buffersize_items_are_ahead_of_the_results(pool, task, size, ordered):
    items = Counted()
    results = pool.map(task(tasks.same), items, buffersize=size, ordered=ordered)
    assert items.taken <= size
    seen = []
    for taken in range(1, 40):
        seen.append(next(results))
        assert items.taken <= taken + size
    assert len(set(seen)) == len(seen)
    assert max(seen) <= items.taken
    assert not ordered or seen == list(range(1, 40))
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
def test_sizes_that_mean_nothing_are_refused_at_once(pool, task, arguments, error):
    with pytest.raises(error):
        pool.map(task(tasks.same), [1], **arguments)


def test_map_over_something_that_cannot_be_iterated_fails_at_once(pool, task):
    with pytest.raises(TypeError):
        pool.map(task(tasks.same), 5)


@pytest.mark.but("SerialPool", "Pool")  # where the first task runs in this thread
@pytest.mark.parametrize("lazy", [False, True])
def test_unordered_results_come_as_they_arrive(pool, task, tmp_path, lazy):
    gate = tmp_path / "gate"
    gates = [str(gate), *[str(tmp_path)] * 6]
    paths = [str(tmp_path / "runs")] * 7
    results = pool.map(task(tasks.wait_for), paths, iter(gates) if lazy else gates, ordered=False)
    assert [next(results) for _ in range(6)] == [str(tmp_path)] * 6
    gate.touch()
    assert list(results) == [str(gate)]


def test_places_behind_a_long_task_of_a_lazy_map_are_filled(make_pool, task, tmp_path, until, marks):
    pool = make_pool(2)
    gate, path = tmp_path / "gate", tmp_path / "runs"
    gates = itertools.chain([str(gate)], itertools.repeat(str(tmp_path), 60))

    def opened():
        for number, each in enumerate(gates):
            if number == 50:
                gate.touch()  # only whoever takes items behind the long task opens it
            yield each

    if type(pool).__name__ == "SerialPool":
        gate.touch()
    results = pool.map(task(tasks.wait_for), itertools.repeat(str(path)), opened())
    assert next(results) == str(gate)
    assert len(list(results)) == 60


def test_an_error_of_a_task_comes_in_its_place_and_ends_the_iterator(pool, task):
    results = pool.map(task(tasks.invert), [4, 2, 0, 1])
    assert (next(results), next(results)) == (0.25, 0.5)
    with pytest.raises(ZeroDivisionError):
        next(results)
    with pytest.raises(StopIteration):
        next(results)
    assert pool.submit(task(tasks.same), 1).result() == 1


def test_an_error_of_the_iterable_comes_from_the_iterator_or_the_call(pool, task):
    def broken():
        yield 1
        yield 2
        raise LookupError("no more items")

    with pytest.raises(LookupError, match="no more items"):
        list(pool.map(task(tasks.same), broken()))
    assert pool.submit(task(tasks.same), 1).result() == 1


@pytest.mark.parametrize(("lazy", "ordered"), [(False, True), (True, False)])
def test_the_timeout_is_for_all_results_together(pool, task, lazy, ordered):
    list(pool.map(task(tasks.nap), [0.01] * 4))  # the workers are there: they do not count
    seconds = [0, 0, 1.5, 1.5]
    results = pool.map(task(tasks.nap), iter(seconds) if lazy else seconds, timeout=1, ordered=ordered)
    assert [next(results), next(results)] == [0, 0]
    with pytest.raises(futures.TimeoutError):
        next(results)
    with pytest.raises(StopIteration):
        next(results)


@pytest.mark.but("SerialPool", "Pool")
@pytest.mark.parametrize("how", ["close", "drop", "timeout"])
def test_what_nobody_waits_for_any_more_is_not_begun(make_pool, task, tmp_path, marks, how):
    pool = make_pool(1)
    path, gate = tmp_path / "runs", tmp_path / "gate"
    gates = [str(tmp_path), *[str(gate)] * 50]
    pool.submit(task(tasks.same), 1).result()  # the worker is there: its start does not count
    timeout = 1 if how == "timeout" else None
    results = pool.map(task(tasks.wait_for), [str(path)] * 51, gates, timeout=timeout)
    next(results)
    if how == "close":
        results.close()
        assert list(results) == []
    elif how == "timeout":
        with pytest.raises(futures.TimeoutError):
            next(results)
    del results
    gc.collect()
    gate.touch()
    pool.shutdown()
    assert marks(path) <= 3


def test_a_map_that_nobody_reads_runs_all_its_tasks(make_pool, task, tmp_path, marks):
    path = tmp_path / "runs"
    with make_pool(2) as pool:
        pool.map(task(tasks.mark), [str(path)] * 30)
    assert marks(path) == 30


def test_shutdown_lets_a_map_finish_what_was_taken_in(make_pool, task, tmp_path, marks):
    path = tmp_path / "runs"
    pool = make_pool(1)
    results = pool.map(task(tasks.mark), [str(path)] * 10)
    pool.shutdown()
    assert marks(path) == 10
    assert list(results) == [None] * 10


def test_a_map_over_a_generator_that_nobody_reads_warns(pool, task):
    with pytest.warns(RuntimeWarning, match="dropped before its results were read"):
        pool.map(task(tasks.same), itertools.count())
    assert pool.submit(task(tasks.same), 1).result() == 1


def test_the_pool_lives_while_a_map_over_it_is_read(make_pool, task):
    def squares():
        return make_pool(1).map(task(tasks.square), itertools.count())

    results = squares()
    gc.collect()
    assert list(itertools.islice(results, 60)) == [item * item for item in range(60)]
    results.close()


def test_a_map_inside_the_iterable_of_a_map(pool, task):
    inner = pool.map(task(tasks.square), range(30))
    assert list(pool.map(task(tasks.square), inner)) == [item**4 for item in range(30)]


def test_submitting_while_a_map_is_read(pool, task):
    for item, squared in enumerate(pool.map(task(tasks.square), range(20))):
        assert pool.submit(task(tasks.square), item).result() == squared


def test_progress_passes_the_results_on(pool, task, capsys):
    assert list(pool.map(task(tasks.square), range(5), progress=True)) == [0, 1, 4, 9, 16]
    assert capsys.readouterr().err == ""  # nobody looks: it is no terminal


class Looping:
    """Makes items, and keeps the results of a map over them: a cycle."""

    def __init__(self):
        self.results = iter(())

    def items(self):
        yield from range(1000)


def test_a_map_that_is_dropped_with_what_its_items_come_from_is_collected(make_pool, task):
    pool, looping = make_pool(), Looping()
    looping.results = pool.map(task(tasks.square), looping.items())
    assert next(looping.results) == 0
    watched = weakref.ref(looping)
    del looping
    pool.shutdown()
    assert eventually(lambda: gc.collect() >= 0 and watched() is None)
