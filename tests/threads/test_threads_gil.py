"""Who gets the GIL: tasks that compute, tasks that wait, and those who wait for a result. Nobody starves."""

import sys
import threading
import time
from concurrent import futures

import pytest
from threads_waiting import until

HAS_GIL = getattr(sys, "_is_gil_enabled", lambda: True)()


def spin(stopped):
    while not stopped:
        pass


def test_tasks_that_compute_do_not_keep_one_that_waits_from_starting(make_pool):
    pool, stopped = make_pool(16), []
    try:
        for _ in range(4):
            pool.submit(spin, stopped)
        assert pool.submit(abs, -1).result(20) == 1
    finally:
        stopped.append(1)


def test_tasks_that_compute_until_others_have_run_all_get_their_turn(make_pool):
    pool, count = make_pool(12), 12
    came = []

    def task(number):
        came.append(number)
        while len(came) < count:  # computes, and holds the GIL, until all the others have begun
            pass

    done = futures.wait([pool.submit(task, number) for number in range(count)], 30)
    assert not done.not_done


@pytest.mark.skipif(not HAS_GIL, reason="threads run at once here")
def test_a_thread_that_could_only_queue_for_the_gil_is_held_back(make_pool):
    pool, stopped, barrier = make_pool(16), [], threading.Barrier(16)
    list(pool.map(lambda _: barrier.wait(20), range(16)))
    assert until(lambda: pool.statistics().workers_idle == 16)
    try:
        for _ in range(16):
            pool.submit(spin, stopped)
        assert until(lambda: pool.statistics().held_back > 0)
        assert until(lambda: pool.statistics().running == 16), "held back for ever"
    finally:
        stopped.append(1)


def test_tasks_that_wait_for_each_other_all_start_beside_one_that_computes(make_pool):
    pool, stopped, barrier = make_pool(8), [], threading.Barrier(7)
    try:
        pool.submit(spin, stopped)
        arrived = [pool.submit(barrier.wait, 30) for _ in range(7)]
        assert sorted(future.result(30) for future in arrived) == list(range(7))
    finally:
        stopped.append(1)


def test_as_many_tasks_as_threads_wait_for_each_other(make_pool):
    for workers in (2, 8, 32):
        pool, barrier = make_pool(workers), threading.Barrier(workers)
        assert sorted(pool.map(lambda _, barrier=barrier: barrier.wait(30), range(workers))) == [
            *range(workers)
        ]


def test_tasks_that_mostly_wait_go_on_beside_two_that_compute(make_pool):
    pool, stopped = make_pool(8), []
    try:
        for _ in range(2):
            pool.submit(spin, stopped)
        assert len(list(pool.map(lambda _: time.sleep(0.001), range(300), timeout=30))) == 300
    finally:
        stopped.append(1)


@pytest.mark.skipif(not HAS_GIL, reason="threads run at once here")
def test_a_pool_that_is_closed_while_threads_are_held_back_runs_all(make_pool):
    def compute():
        return sum(step * step for step in range(50_000))

    for _ in range(3):
        pool = make_pool(8)
        handed_in = [pool.submit(compute) for _ in range(60)]
        pool.shutdown()
        assert len({future.result(0) for future in handed_in}) == 1


@pytest.mark.skipif(not HAS_GIL, reason="threads run at once here")
def test_a_thread_outside_the_pool_that_computes_holds_nobody_back(make_pool):
    pool, stopped = make_pool(8), []
    outside = threading.Thread(target=spin, args=(stopped,))
    outside.start()

    def nobody_is_held_back():  # a task that sleeps holds the GIL too, for a moment, and may be seen to
        before = pool.statistics().held_back
        assert len(list(pool.map(lambda _: time.sleep(0.001), range(8)))) == 8
        return pool.statistics().held_back == before

    try:
        assert until(nobody_is_held_back)
    finally:
        stopped.append(1)
        outside.join()


def test_who_waits_gets_his_result_while_short_tasks_follow_each_other(make_pool):
    pool, stopped, runs = make_pool(1), [], []

    def again():
        runs.append(1)
        if not stopped:
            pool.submit(again)

    again()
    first = pool.submit(abs, -5)
    for _ in range(3):
        pool.submit(again)
    assert first.result(20) == 5
    for _ in range(50):
        assert pool.submit(abs, -5).result(20) == 5
    stopped.append(1)
    assert len(runs) > 50
