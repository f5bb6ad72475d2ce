"""Tasks that run past their time: the future fails at once, the thread is left alone, and another takes its place."""

import threading
import time
import weakref
from concurrent import futures

import pytest
from threads_waiting import until

import whichever

LONG = 30.0


@pytest.fixture
def gate():
    """An event that ends the tasks which wait for it, at the latest with the test."""
    event = threading.Event()
    yield event
    event.set()


def test_the_future_fails_at_its_time_though_the_task_runs_on(make_pool, gate):
    pool, began = make_pool(1), time.monotonic()
    future = pool.options(timeout=0.1).submit(gate.wait, LONG)
    with pytest.raises(whichever.TaskTimeoutError, match=r"longer than 0\.1 s .* ProcessPool"):
        future.result(LONG)
    assert 0.1 <= time.monotonic() - began < LONG / 2
    assert not future.running()
    assert pool.statistics().timed_out == 1
    assert pool.statistics().workers_overdue == 1


def test_another_thread_takes_the_place_and_the_old_one_ends(make_pool, gate):
    pool = make_pool(1)
    overdue = pool.options(timeout=0.05).submit(gate.wait, LONG)
    following = [pool.submit(threading.current_thread) for _ in range(3)]
    replacement = following[0].result(LONG)
    assert isinstance(overdue.exception(), whichever.TaskTimeoutError)
    assert {future.result(LONG) for future in following} == {replacement}
    (old,) = pool._threads - {replacement}
    gate.set()
    old.join(LONG)
    assert not old.is_alive()
    assert pool._threads == {replacement}
    statistics = pool.statistics()
    assert (statistics.workers, statistics.workers_overdue) == (1, 0)
    assert (statistics.returned, statistics.timed_out) == (3, 1)


def test_a_thread_that_is_back_before_another_was_needed_goes_on(make_pool, gate):
    pool = make_pool(1)
    assert pool.options(timeout=0.05).submit(gate.wait, LONG).exception(LONG)
    (old,) = pool._threads
    gate.set()
    assert until(lambda: pool.statistics().workers_overdue == 0)
    assert pool.submit(threading.current_thread).result(LONG) is old


def test_what_the_task_leaves_in_the_end_is_dropped(make_pool, gate):
    class Result:
        pass

    dropped = threading.Event()

    def late():
        gate.wait(LONG)
        result = Result()
        weak.append(weakref.ref(result, lambda _: dropped.set()))
        return result

    weak, called = [], []
    future = make_pool(1, timeout=0.05).submit(late)
    future.add_done_callback(called.append)
    error = future.exception(LONG)
    gate.set()
    assert dropped.wait(LONG)
    assert future.exception() is error
    assert called == [future]


def test_a_task_that_ends_in_time_is_like_any_other(make_pool):
    pool = make_pool(2, timeout=LONG)
    assert list(pool.map(abs, range(-200, 0))) == list(range(200, 0, -1))
    with pytest.raises(ZeroDivisionError):
        pool.submit(lambda: 1 / 0).result()
    assert (pool.statistics().timed_out, pool.statistics().raised) == (0, 1)


def test_the_time_counts_from_the_tasks_own_start(make_pool):
    pool = make_pool(1, timeout=0.5)
    waits = [pool.submit(time.sleep, 0.1) for _ in range(8)]
    assert [future.exception(LONG) for future in waits] == [None] * 8


def test_a_short_limit_is_kept_while_a_long_one_is_waited_for(make_pool, gate):
    pool = make_pool(3)
    long = pool.options(timeout=LONG).submit(gate.wait, LONG)
    assert until(long.running)
    began = time.monotonic()
    assert pool.options(timeout=0.05).submit(gate.wait, LONG).exception(LONG)
    assert time.monotonic() - began < LONG / 2
    gate.set()
    assert long.result(LONG)


def test_options_go_before_the_pools_own_limit(make_pool, gate):
    pool = make_pool(2, timeout=0.05)
    patient = pool.options(timeout=LONG).submit(gate.wait, LONG)
    assert pool.submit(gate.wait, LONG).exception(LONG)
    assert patient.running()
    gate.set()
    assert patient.result(LONG)
    with pytest.raises(ValueError, match="timeout must be above 0"):
        make_pool(2, timeout=0)


@pytest.mark.parametrize("endless", [float("inf"), 1e300])
def test_a_limit_of_centuries_is_none(make_pool, endless):
    assert make_pool(1, timeout=endless).submit(abs, -1).result(LONG) == 1


def test_a_map_raises_in_the_place_of_the_task(make_pool, gate):
    results = make_pool(2, timeout=0.1).map(lambda item: gate.wait(LONG) if item == 1 else item, range(3))
    assert next(results) == 0
    with pytest.raises(whichever.TaskTimeoutError):
        next(results)


def test_a_map_without_order_gives_the_others_first(make_pool, gate):
    pool = make_pool(2)
    results = pool.options(timeout=0.3).map(
        lambda item: gate.wait(LONG) if item == 1 else item, range(5), ordered=False
    )
    assert sorted(next(results) for _ in range(4)) == [0, 2, 3, 4]
    with pytest.raises(whichever.TaskTimeoutError):
        next(results)


def test_a_task_past_its_time_in_a_map_that_nobody_reads_is_dropped(make_pool, gate):
    pool = make_pool(1, timeout=0.05)
    pool.map(lambda _: gate.wait(LONG), [1, 2])
    assert until(lambda: pool.statistics().timed_out == 2)


def test_as_many_threads_as_workers_are_replaced_and_no_more(make_pool, gate):
    pool = make_pool(2, timeout=0.05)
    stuck = [pool.submit(gate.wait, LONG) for _ in range(4)]
    assert all(isinstance(future.exception(LONG), whichever.TaskTimeoutError) for future in stuck)
    assert len(pool._threads) == 4
    assert pool.statistics().workers_overdue == 4
    untimed = pool.options(timeout=1e9).submit(abs, -1)
    waiting = pool.submit(abs, -1)
    with pytest.raises(whichever.TaskTimeoutError, match="no thread was left"):
        waiting.result(LONG)
    assert not untimed.done()
    gate.set()
    assert untimed.result(LONG) == 1
    assert until(lambda: (pool.statistics().workers, len(pool._threads)) == (2, 2))
    assert pool.statistics().workers_overdue == 0
    assert pool.submit(abs, -2).result(LONG) == 2


def test_callbacks_and_waiters_hear_of_it(make_pool, gate):
    pool, heard = make_pool(2, timeout=0.05), []
    waits = [pool.submit(gate.wait, LONG) for _ in range(2)]
    waits[0].add_done_callback(heard.append)
    assert futures.wait(waits, LONG).not_done == set()
    assert len(list(futures.as_completed(waits, LONG))) == 2
    assert until(lambda: heard == [waits[0]])


def test_shutdown_runs_what_waits_and_does_not_wait_for_what_is_past_its_time(make_pool, gate):
    pool = make_pool(1)
    pool.options(timeout=0.05).submit(gate.wait, LONG)
    following = [pool.submit(abs, -number) for number in range(5)]
    began = time.monotonic()
    pool.shutdown()
    assert time.monotonic() - began < LONG / 2
    assert [future.result(0) for future in following] == [0, 1, 2, 3, 4]


def test_the_timekeeper_goes_when_it_is_not_needed(make_pool, gate):
    def keepers():
        return [thread for thread in threading.enumerate() if thread.name == "watched_timekeeper"]

    pool = make_pool(2, "watched")
    pool.submit(abs, -1).result()
    assert keepers() == []
    future = pool.options(timeout=0.2).submit(gate.wait, LONG)
    assert until(keepers)
    assert future.exception(LONG)
    assert until(lambda: not keepers())
    assert pool.options(timeout=0.1).submit(gate.wait, LONG).exception(LONG)  # another one is there for it


def test_a_task_whose_time_cannot_be_kept_fails(make_pool, monkeypatch):
    pool = make_pool(1)
    pool.submit(abs, -1).result()

    def refuse(_keeper, _alarm):
        message = "can't start new thread"
        raise RuntimeError(message)

    monkeypatch.setattr(pool._host, "keep_time", refuse)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        pool.options(timeout=1).submit(abs, -1).result(LONG)
    monkeypatch.undo()
    assert pool.options(timeout=1).submit(abs, -2).result(LONG) == 2


def test_many_tasks_that_end_near_their_time_end_once(make_pool):
    pool, called = make_pool(8, timeout=0.01), []
    waits = [pool.submit(time.sleep, 0.0095 + number % 10 * 1e-4) for number in range(400)]
    for future in waits:
        future.add_done_callback(called.append)
    assert futures.wait(waits, LONG).not_done == set()
    assert until(lambda: len(called) == 400)
    timed_out = sum(future.exception() is not None for future in waits)
    assert until(lambda: pool.statistics().workers_overdue == 0)
    statistics = pool.statistics()
    assert (statistics.timed_out, statistics.returned) == (timed_out, 400 - timed_out)
    assert statistics.workers <= 8


def test_the_program_ends_though_a_task_does_not(start):
    program = start("""
        import threading, time, whichever
        with whichever.ThreadPool(1, timeout=0.1) as pool:
            future = pool.submit(threading.Event().wait)
            print(type(future.exception()).__name__, flush=True)
            pool.submit(print, "and the next one", flush=True)
        print("the pool is over", flush=True)
    """)
    assert program.finish() == ("TaskTimeoutError\nand the next one\nthe pool is over\n", "", 0)


def test_tasks_that_compute_past_their_time_are_given_up_too(make_pool, gate):
    def spin():
        while not gate.is_set():
            pass

    pool = make_pool(2, timeout=0.1)
    errors = [pool.submit(spin).exception(LONG) for _ in range(2)]
    assert [type(error) for error in errors] == [whichever.TaskTimeoutError] * 2
