"""Single tasks of an auto pool: where they go, and what comes of it."""

import asyncio
import os
import sys
import threading
import time
import warnings

import auto_tasks as tasks
import pytest

several_cores = pytest.mark.skipif(
    len(os.sched_getaffinity(0)) < 2, reason="one core: processes gain nothing"
)

with_gil = pytest.mark.skipif(
    not getattr(sys, "_is_gil_enabled", lambda: True)(), reason="without a GIL threads compute as well"
)


def results(pool, fn, items):
    return [future.result() for future in [pool.submit(fn, item) for item in items]]


def test_an_unknown_function_starts_in_a_thread(pool):
    assert pool.submit(os.getpid).result() == os.getpid()
    assert pool.submit(threading.get_ident).result() != threading.get_ident()


def test_tasks_that_wait_get_more_threads(pool):
    begun = time.perf_counter()
    assert sum(results(pool, tasks.nap, [0.05] * 100)) == pytest.approx(5)
    assert time.perf_counter() - begun < 2.5


@several_cores
@with_gil
def test_tasks_that_compute_move_to_processes(pool):
    for _ in range(20):
        pids = results(pool, tasks.burn, [0.005] * 60)
        if set(pids) - {os.getpid()}:
            break
    assert set(pids) - {os.getpid()}, pool.history()


def test_what_writes_a_global_never_moves(pool):
    tasks.written = 0
    for _ in range(10):
        results(pool, tasks.count_up, range(40))
    assert tasks.written > 300  # threads race on it
    assert "processes" not in pool.statistics().engines


@several_cores
def test_arguments_that_do_not_pickle_bring_a_task_back(pool):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for begin in range(0, 3000, 100):
            items = [tasks.Stubborn(number, begin + 50) for number in range(begin, begin + 100)]
            assert results(pool, tasks.number_of, items) == list(range(begin, begin + 100))
    if pool.statistics().engines.get("processes"):
        assert len(caught) <= 1
        assert all("do not pickle" in str(warning.message) for warning in caught)


def test_exceptions_and_cancels_are_the_futures(make_pool):
    pool = make_pool(1)
    with pytest.raises(ZeroDivisionError):
        pool.submit(divmod, 1, 0).result()
    first = pool.submit(time.sleep, 0.2)
    waiting = [pool.submit(tasks.tiny, 1) for _ in range(5)]
    assert all(future.cancel() for future in waiting)
    assert first.result() is None
    assert all(future.cancelled() for future in waiting)


def test_keywords_reach_the_task(pool):
    for _ in range(20):
        assert pool.submit(sorted, [2, 3, 1], reverse=True).result() == [3, 2, 1]
        assert pool.submit(lambda *, fn, self: (fn, self), fn=1, self=2).result() == (1, 2)


def test_coroutine_functions_are_awaited(pool):
    assert results(pool, tasks.answer, range(20)) == [item * 2 for item in range(20)]


def test_it_serves_an_event_loop(pool):
    async def main():
        loop = asyncio.get_running_loop()
        assert await pool.run(tasks.tiny, 1) == 2
        assert await loop.run_in_executor(pool, tasks.tiny, 2) == 3
        begun = time.perf_counter()
        await asyncio.gather(*(pool.run(tasks.nap, 0.05) for _ in range(100)))
        assert time.perf_counter() - begun < 2.5
        with pytest.raises(ZeroDivisionError):
            await pool.run(divmod, 1, 0)

    asyncio.run(main())


def test_it_is_a_default_executor_that_ends_the_limit_of_to_thread(make_pool):
    async def main():
        pool = make_pool()
        asyncio.get_running_loop().set_default_executor(pool)
        begun = time.perf_counter()
        await asyncio.gather(*(asyncio.to_thread(tasks.nap, 0.05) for _ in range(100)))
        assert time.perf_counter() - begun < 2.5

    asyncio.run(main())


def test_an_awaited_task_that_raises_stop_iteration_ends(make_pool):
    async def main():
        with pytest.raises(RuntimeError, match="raised StopIteration"):
            await asyncio.wait_for(make_pool().run(next, iter(())), 30)

    asyncio.run(main())


def test_cancelling_who_awaits_a_task_cancels_it_if_it_waits(make_pool):
    async def main():
        pool, ran, go_on = make_pool(workers=1), [], threading.Event()
        first = asyncio.ensure_future(pool.run(go_on.wait, 30))
        second = asyncio.ensure_future(pool.run(ran.append, 1))
        await asyncio.sleep(0)  # both are handed in then
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        go_on.set()
        assert await first
        await pool.run(int)
        assert not ran

    asyncio.run(main())


def test_a_pool_within_a_task_of_a_pool(pool):
    import whichever

    def outer(number):
        with whichever.Pool(remember=False) as inner:
            return sum(inner.map(tasks.tiny, range(number)))

    assert list(pool.map(outer, range(40))) == [sum(range(1, number + 1)) for number in range(40)]
    assert results(pool, outer, range(20)) == [sum(range(1, number + 1)) for number in range(20)]


def test_what_writes_a_keyword_argument_never_moves(pool):
    for _ in range(4):
        slips = [tasks.Slip() for _ in range(40)]
        for future in [pool.submit(tasks.take_down, on=slip) for slip in slips]:
            future.result()
        assert all(slip.answer for slip in slips)
    assert "processes" not in pool.statistics().engines, pool.history()
