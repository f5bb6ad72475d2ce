"""Tasks that are stopped while they run: by their timeout, by `cancel`; in Python, in native code, unwilling ones."""

import time
from concurrent import futures

import pool_tasks as tasks
import pytest
from watching import until, written

import whichever

ENDLESS = [tasks.spin, tasks.sleep_on, tasks.refuse_to_end, tasks.refuse_and_spin]


@pytest.mark.parametrize("task", ENDLESS, ids=lambda task: task.__name__)
def test_a_task_that_runs_too_long_is_stopped(make_pool, tmp_path, task):
    pool = make_pool(1)
    begun = time.monotonic()
    future = pool.options(timeout=0.4).submit(task, str(tmp_path / "runs"))
    after = pool.submit(tasks.same, "after")
    with pytest.raises(whichever.TaskTimeoutError) as caught:
        future.result()
    assert isinstance(caught.value, TimeoutError)
    assert 0.4 <= time.monotonic() - begun < 10
    assert after.result() == "after"
    assert (tmp_path / "runs").exists()
    assert pool.statistics().timed_out == 1


@pytest.mark.parametrize("task", ENDLESS, ids=lambda task: task.__name__)
def test_a_running_task_can_be_cancelled(make_pool, tmp_path, task):
    pool = make_pool(1)
    future = pool.submit(task, str(tmp_path / "runs"))
    after = pool.submit(tasks.same, "after")
    assert until(future.running)
    assert until(written(tmp_path / "runs"))
    assert future.cancel()
    assert future.cancelled()
    with pytest.raises(futures.CancelledError):
        future.result()
    assert after.result() == "after"
    assert pool.statistics().cancelled == 1


def test_a_willing_task_is_stopped_without_a_new_worker_and_cleans_up(make_pool, tmp_path):
    def tidy(path):
        try:
            tasks.spin(path)
        finally:
            tasks.mark(f"{path}.clean")

    pool = make_pool(1)
    pid = pool.submit(tasks.pid_of).result()
    future = pool.submit(tidy, str(tmp_path / "runs"))
    assert until(written(tmp_path / "runs"))
    future.cancel()
    assert pool.submit(tasks.pid_of).result() == pid
    assert (tmp_path / "runs.clean").exists()


def test_tasks_that_end_in_time_are_left_alone(make_pool):
    pool = make_pool(2, timeout=10)
    assert list(pool.map(tasks.nap, [0.01] * 20)) == [0.01] * 20
    assert pool.statistics().timed_out == 0


def test_the_timeout_counts_from_the_tasks_own_start(make_pool):
    pool = make_pool(1, timeout=1.0)
    handed_in = [pool.submit(tasks.nap, 0.15) for _ in range(10)]
    assert [future.result() for future in handed_in] == [0.15] * 10


def test_the_pools_timeout_holds_in_a_map(make_pool):
    pool = make_pool(2, timeout=0.5)
    results = pool.map(tasks.nap, [0, 60, 0])
    assert next(results) == 0
    with pytest.raises(whichever.TaskTimeoutError):
        next(results)
    assert pool.submit(tasks.same, 1).result() == 1


def test_a_timed_out_task_is_not_retried(make_pool, tmp_path):
    pool = make_pool(1, retries=3)
    error = pool.options(timeout=0.5).submit(tasks.refuse_and_spin, str(tmp_path / "runs")).exception()
    assert isinstance(error, whichever.TaskTimeoutError)
    assert len((tmp_path / "runs").read_text().splitlines()) == 1


def test_a_cancelled_task_is_not_retried(make_pool, tmp_path):
    pool = make_pool(1, retries=3)
    future = pool.submit(tasks.refuse_and_spin, str(tmp_path / "runs"))
    assert until(written(tmp_path / "runs"))
    future.cancel()
    assert pool.submit(tasks.same, 1).result() == 1
    assert len((tmp_path / "runs").read_text().splitlines()) == 1


def test_cancelling_what_waits_behind_a_running_task_never_runs_it(make_pool, tmp_path):
    pool = make_pool(1)
    for _ in range(50):  # so that tasks are handed over ahead of time
        pool.submit(tasks.same, 1).result()
    gate = tmp_path / "gate"
    running = pool.submit(tasks.wait_for, str(tmp_path / "runs"), str(gate))
    waiting = [pool.submit(tasks.mark, str(tmp_path / f"ran{number}")) for number in range(20)]
    assert until(written(tmp_path / "runs"))
    assert all(future.cancel() for future in waiting[::2])
    gate.touch()
    assert isinstance(running.result(), int)
    futures.wait(waiting)
    pool.shutdown()
    assert [(tmp_path / f"ran{number}").exists() for number in range(20)] == [False, True] * 10
    assert (pool.statistics().cancelled, pool.statistics().returned) == (10, 61)


def test_cancelling_many_running_tasks_leaves_a_usable_pool(make_pool):
    pool = make_pool(2)
    for _ in range(30):
        future = pool.submit(tasks.nap, 60)
        until(future.running)
        assert future.cancel()
    assert pool.submit(tasks.same, 1).result() == 1


def test_a_cancel_in_the_instant_of_the_end_hits_nobody_else(make_pool):
    pool = make_pool(1)
    for number in range(300):
        future = pool.submit(tasks.same, number)
        other = pool.submit(tasks.count_to, 200)
        if not future.cancel():
            assert future.result() == number
        assert other.result() == 200
    counts = pool.statistics()
    assert counts.raised == 0


def test_a_task_that_waits_for_a_program_can_be_stopped(make_pool):
    def call(seconds):
        import subprocess
        import sys

        return subprocess.run(
            [sys.executable, "-c", f"import time; time.sleep({seconds})"], check=False
        ).returncode

    pool = make_pool(1)
    assert isinstance(pool.options(timeout=0.3).submit(call, 5).exception(), whichever.TaskTimeoutError)
    assert pool.submit(call, 0).result() == 0
