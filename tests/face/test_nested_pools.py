"""Pools inside pools: a worker is told what is left of the cores, and whatever is nested gives its results."""

import asyncio
import multiprocessing
import os

import pytest

import whichever
from whichever import _core
from whichever.executors._cores_left import cores_left, share_of
from whichever.executors._crew import _spare_count

CORES = 64  # of an imagined machine
OUTER = ["ThreadPool", "ProcessPool", "AsyncPool"]
USABLE = max(int(_core.usable_cores()["cores"]), 1)


def share(_item=None):
    return share_of(CORES)


async def share_of_coroutine(_item=None):
    return share_of(CORES)


def share_inside(kind, workers):
    """Return the share of a worker of a pool that is made here."""
    with getattr(whichever, kind)(workers) as pool:
        return pool.submit(share_of_coroutine if kind == "AsyncPool" else share).result()


async def share_inside_coroutine(kind, workers):
    return share_inside(kind, workers)


def share_three_deep():
    with whichever.ThreadPool(2) as pool:
        return pool.submit(share_inside, "ProcessPool", 4).result()


def share_in_forked_worker():
    with whichever.ProcessPool(2, mp_context=multiprocessing.get_context("fork")) as pool:
        return pool.submit(share).result()


def default_workers(kind):
    with getattr(whichever, kind)() as pool:
        return pool._max_workers


def explicit_workers(workers):
    with whichever.ProcessPool(workers) as processes, whichever.ThreadPool(workers) as threads:
        return processes._max_workers, threads._max_workers


def blas_threads():
    return os.environ["OMP_NUM_THREADS"]


def blas_threads_inside(workers):
    with whichever.ProcessPool(workers) as pool:
        return pool.submit(blas_threads).result()


def spares():
    return _spare_count(32)


def workers_of_a_chosen_engine(engine):
    with whichever.Pool(engine) as pool:
        return pool._home.fixed_workers(engine)


def double(number):
    return 2 * number


def doubles(numbers):
    with whichever.ProcessPool(2) as pool:
        return list(pool.map(double, numbers))


def doubles_of_rows(rows):
    with whichever.ProcessPool(2) as pool:
        return list(pool.map(doubles, rows))


@pytest.mark.parametrize("name", OUTER)
def test_a_worker_gets_its_share_of_the_cores(name):
    assert share_inside(name, 3) == CORES // 3


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_worker_of_a_context_gets_its_share_of_the_cores(method):
    with whichever.ProcessPool(4, mp_context=multiprocessing.get_context(method)) as pool:
        assert pool.submit(share).result() == CORES // 4


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_worker_forked_from_a_worker_thread_gets_its_own_share():
    with whichever.ThreadPool(4) as pool:
        assert pool.submit(share_in_forked_worker).result() == CORES // (4 * 2)


@pytest.mark.parametrize("inner", OUTER)
@pytest.mark.parametrize("outer", OUTER)
def test_shares_multiply_with_the_depth(outer, inner):
    with getattr(whichever, outer)(2) as pool:
        task = share_inside_coroutine if outer == "AsyncPool" else share_inside
        assert pool.submit(task, inner, 4).result() == CORES // 8


def test_shares_multiply_three_deep():
    with whichever.ProcessPool(2) as pool:
        assert pool.submit(share_three_deep).result() == CORES // (2 * 2 * 4)


def test_a_share_is_at_least_one_core():
    assert share_inside("ThreadPool", 10 * CORES) == 1


def test_outside_of_pools_all_cores_are_left():
    share_inside("ThreadPool", 4)
    assert share() == CORES
    assert cores_left() == USABLE


def test_an_initializer_is_told_too():
    told = []
    with whichever.ThreadPool(4, initializer=lambda: told.append(share())) as pool:
        pool.submit(share).result()
    assert told == [CORES // 4]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ProcessPool", max(USABLE // 2, 1)),
        ("ThreadPool", min(32, max(getattr(os, "process_cpu_count", os.cpu_count)() // 2, 1) + 4)),
        ("AsyncPool", 100),
    ],
)
@pytest.mark.parametrize("outer", ["ThreadPool", "ProcessPool"])
def test_a_pool_inside_a_worker_has_fewer_workers_by_default(outer, name, expected):
    with getattr(whichever, outer)(2) as pool:
        assert pool.submit(default_workers, name).result() == expected


@pytest.mark.parametrize("outer", ["ThreadPool", "ProcessPool"])
def test_a_pool_that_chooses_counts_on_its_share_too(outer):
    with getattr(whichever, outer)(2) as pool:
        assert pool.submit(workers_of_a_chosen_engine, "processes").result() == max(USABLE // 2, 1)


def test_workers_that_were_asked_for_stay():
    with whichever.ProcessPool(8) as pool:
        assert pool.submit(explicit_workers, 3).result() == (3, 3)


def test_native_libraries_of_a_nested_worker_get_its_share_not_the_outer_ones(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    with whichever.ProcessPool(1) as pool:
        assert pool.submit(blas_threads).result() == str(USABLE)
        assert pool.submit(blas_threads_inside, USABLE).result() == "1"


def test_what_the_user_says_of_native_libraries_holds_at_every_depth(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    with whichever.ProcessPool(2) as pool:
        assert pool.submit(blas_threads_inside, 2).result() == "7"


def test_a_nested_pool_keeps_few_workers_ready():
    with whichever.ThreadPool(32) as pool:
        assert pool.submit(spares).result() == 1


def test_process_pools_two_deep_give_their_results():
    tables = [[[1, 2], [3]], [[4], [5, 6, 7]], [[8]]]
    with whichever.ProcessPool(2) as pool:
        assert list(pool.map(doubles_of_rows, tables)) == [
            [[2, 4], [6]], [[8], [10, 12, 14]], [[16]],
        ]  # fmt: skip


@pytest.mark.parametrize("outer", ["ThreadPool", "ProcessPool"])
def test_every_worker_may_have_a_pool_at_once(outer):
    rows = [[number, number + 1] for number in range(8)]
    with getattr(whichever, outer)(3) as pool:
        assert list(pool.map(doubles, rows)) == [[2 * a, 2 * b] for a, b in rows]


def test_a_coroutine_may_await_what_a_pool_inside_it_does():
    async def table(rows):
        with whichever.ProcessPool(2) as pool:
            return [await asyncio.wrap_future(pool.submit(doubles, row)) for row in rows]

    with whichever.AsyncPool(2) as pool:
        assert list(pool.map(table, [[[1], [2]], [[3]]])) == [[[2], [4]], [[6]]]


PROGRAM = """
    import os, time, whichever

    def wait(path):
        open(path, "w").close()
        time.sleep(1000)

    def inner(path):
        with whichever.ProcessPool(1) as pool:
            return pool.submit(wait, path).result()

    with whichever.ProcessPool(2) as pool:
        futures = [pool.submit(inner, f"ready{number}") for number in range(2)]
        while not all(os.path.exists(f"ready{number}") for number in range(2)):
            time.sleep(0.01)
        print("ready", flush=True)
        futures[0].result()
"""


def test_one_ctrl_c_ends_pools_two_deep(start):
    program = start(PROGRAM)
    assert program.line() == "ready"
    program.interrupt()
    _, err, _ = program.finish()
    assert err.count("Traceback") == 1, err
    assert err.rstrip().endswith("KeyboardInterrupt")
    assert program.is_gone()
