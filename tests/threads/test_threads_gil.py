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


def compute(at_least):
    """Compute for so many seconds of this thread's own time."""
    end = time.thread_time() + at_least
    while time.thread_time() < end:
        pass


class Inside:
    """Counts how many threads run a task at once; the tasks hold the GIL."""

    def __init__(self):
        self.now = self.most = self.runs = 0

    def compute(self, _):
        self.now += 1
        self.most = max(self.most, self.now)
        compute(0.01)
        self.now -= 1
        self.runs += 1


@pytest.mark.skipif(not HAS_GIL, reason="threads run at once here")
def test_threads_whose_tasks_waited_do_not_all_begin_to_compute(make_pool):
    pool, barrier, inside = make_pool(64), threading.Barrier(64), Inside()
    list(pool.map(lambda _: barrier.wait(20), range(64)))
    naps = [pool.submit(time.sleep, 0.02) for _ in range(640)]
    work = [pool.submit(inside.compute, step) for step in range(128)]
    assert not futures.wait([*naps, *work], 60).not_done
    assert inside.runs == 128
    assert inside.most <= 16  # 4 to 9; 20 to 48 where nobody is held back


def test_threads_that_computed_all_wait_together_again(make_pool):
    pool, inside, barrier = make_pool(32), Inside(), threading.Barrier(32)
    list(pool.map(lambda _: time.sleep(0.02), range(64)))
    work = [pool.submit(inside.compute, step) for step in range(40)]
    arrived = [pool.submit(barrier.wait, 40) for _ in range(32)]
    assert sorted(future.result(40) for future in arrived) == list(range(32))
    assert all(future.result(40) is None for future in work)


def test_naps_go_on_together_between_tasks_that_compute(make_pool):
    pool, inside = make_pool(32), Inside()
    together, asleep = [], []

    def task(number):
        if number % 10 == 0:
            inside.compute(number)
            return
        asleep.append(number)
        together.append(len(asleep))
        time.sleep(0.02)
        asleep.remove(number)

    assert len(list(pool.map(task, range(400)))) == 400
    assert max(together) >= 8
    assert inside.runs == 40


def test_a_task_that_computes_until_one_behind_naps_has_run_is_not_left_alone(make_pool):
    pool, stopped = make_pool(16), []
    for _ in range(3):
        list(pool.map(lambda _: time.sleep(0.005), range(64)))
        spinning = [pool.submit(spin, stopped) for _ in range(8)]
        naps = [pool.submit(time.sleep, 0.005) for _ in range(64)]
        pool.submit(stopped.append, 1)
        assert not futures.wait([*spinning, *naps], 40).not_done
        stopped.clear()
