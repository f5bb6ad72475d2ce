"""Workers that die: it costs the one task that ran, the pool goes on, and the error says how it ended."""

import ctypes
import os
import pickle
import signal
import subprocess
import sys
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pool_tasks as tasks
import pytest
from watching import is_alive, until, written

import whichever


def crash():
    ctypes.string_at(0)


def parent_of(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGABRT])
def test_the_error_names_the_process_and_its_signal(pool, number):
    pool.warm_up()
    assert until(lambda: len(pool.worker_pids()) == 2)
    pids = pool.worker_pids()
    with pytest.raises(BrokenProcessPool) as caught:
        pool.submit(tasks.die, None, number).result()
    error = caught.value
    assert isinstance(error, whichever.WorkerDied)
    assert error.pid in pids
    assert (error.signal, error.exit_code) == (number, None)
    assert f"worker process {error.pid} was killed by {number.name}" in str(error)
    assert error.peak_memory_bytes > 1_000_000
    again = pickle.loads(pickle.dumps(error))
    assert (again.pid, again.signal, again.peak_memory_bytes) == (error.pid, number, error.peak_memory_bytes)


def test_a_segmentation_fault_leaves_the_python_stack(pool):
    error = pool.submit(crash).exception()
    assert isinstance(error, whichever.WorkerDied)
    assert error.signal == signal.SIGSEGV
    assert "in crash" in error.stack
    assert "in crash" in str(error)
    assert pool.submit(tasks.same, 1).result() == 1


@pytest.mark.parametrize("code", [0, 3, 255])
def test_a_task_that_leaves_says_its_exit_code(pool, code):
    error = pool.submit(tasks.leave, code).exception()
    assert isinstance(error, whichever.WorkerDied)
    assert (error.signal, error.exit_code) == (None, code)
    assert f"exited with code {code}" in str(error)


def test_peak_memory_is_that_of_the_task(make_pool):
    def grow_and_die():
        block = bytearray(120_000_000)
        block[::4096] = b"x" * len(block[::4096])
        tasks.die()

    error = make_pool(1).submit(grow_and_die).exception()
    assert 120_000_000 < error.peak_memory_bytes < 400_000_000


def test_only_the_task_that_ran_is_lost(make_pool):
    pool = make_pool(1)
    handed_in = [
        pool.submit(tasks.die) if number in (3, 10) else pool.submit(tasks.square, number)
        for number in range(30)
    ]
    ends = [future.exception() for future in handed_in]
    assert [number for number, end in enumerate(ends) if isinstance(end, whichever.WorkerDied)] == [3, 10]
    assert [future.result() for number, future in enumerate(handed_in) if number not in (3, 10)] == [
        number * number for number in range(30) if number not in (3, 10)
    ]
    counts = pool.statistics()
    assert (counts.lost, counts.workers_died, counts.retried, counts.returned) == (2, 2, 0, 28)


def test_an_idle_worker_that_is_killed_costs_nothing(make_pool):
    pool = make_pool(1)
    pid = pool.submit(os.getpid).result()
    os.kill(pid, signal.SIGKILL)
    assert until(lambda: not is_alive(pid))
    assert [pool.submit(tasks.square, number).result() for number in range(10)] == [n * n for n in range(10)]
    assert pool.statistics().lost == 0


def test_a_task_handed_to_a_worker_in_the_instant_of_its_death_is_not_lost(make_pool):
    pool = make_pool(2)
    for _ in range(20):
        pid = pool.submit(os.getpid).result()
        os.kill(pid, signal.SIGKILL)
        assert pool.submit(tasks.same, "on").result() == "on"


def test_a_worker_that_is_killed_while_it_starts_is_replaced(make_pool):
    pool = make_pool(2)
    pool.warm_up()
    first = pool.submit(tasks.same, 1)
    for pid in pool.worker_pids():
        os.kill(pid, signal.SIGKILL)
    ends = [first.exception(), *(pool.submit(tasks.same, 2).exception() for _ in range(10))]
    assert ends[1:] == [None] * 10
    assert ends[0] is None or isinstance(ends[0], whichever.WorkerDied)


def test_a_killed_template_costs_what_ran_and_the_pool_goes_on(make_pool, tmp_path):
    pool = make_pool(1)
    template = parent_of(pool.submit(os.getpid).result())
    assert template != os.getpid()
    running = pool.submit(tasks.spin, str(tmp_path / "runs"))
    waiting = pool.submit(tasks.square, 7)
    assert until(written(tmp_path / "runs"))
    os.kill(template, signal.SIGKILL)
    assert isinstance(running.exception(), whichever.WorkerDied)
    assert waiting.result() == 49
    assert parent_of(pool.submit(os.getpid).result()) != template


def test_a_template_killed_between_tasks_is_replaced(make_pool):
    pool = make_pool(1)
    pid = pool.submit(os.getpid).result()
    os.kill(parent_of(pid), signal.SIGKILL)
    assert until(lambda: not is_alive(pid))
    assert pool.submit(tasks.square, 3).result() == 9


def test_retries_run_it_again_and_the_counts_add_up(make_pool, tmp_path):
    pool = make_pool(2, retries=2)
    handed_in = [pool.submit(tasks.die_once, str(tmp_path / str(number)), number) for number in range(6)]
    assert [future.result() for future in handed_in] == list(range(6))
    counts = pool.statistics()
    assert (counts.retried, counts.lost, counts.returned, counts.workers_died) == (6, 0, 6, 6)


def test_a_task_that_kills_each_worker_is_given_up_after_its_retries(make_pool, tmp_path):
    def poison(path):
        tasks.mark(path)
        tasks.die()

    pool = make_pool(2)
    path = tmp_path / "runs"
    poisoned = pool.options(retries=2).submit(poison, str(path))
    others = [pool.submit(tasks.square, number) for number in range(50)]
    assert isinstance(poisoned.exception(), whichever.WorkerDied)
    assert len(path.read_text().splitlines()) == 3
    assert [future.result() for future in others] == [number * number for number in range(50)]


def test_an_exception_is_not_retried(make_pool, tmp_path):
    def fail_and_tell(path):
        tasks.mark(path)
        raise ValueError("mine")

    pool = make_pool(1, retries=3)
    path = tmp_path / "runs"
    with pytest.raises(ValueError, match="mine"):
        pool.submit(fail_and_tell, str(path)).result()
    assert len(path.read_text().splitlines()) == 1


def test_options_override_the_pools_rules_and_leave_them_alone(make_pool, tmp_path):
    pool = make_pool(1, retries=1)
    patient = pool.options(retries=0)
    assert isinstance(
        patient.submit(tasks.die_once, str(tmp_path / "a"), 1).exception(), whichever.WorkerDied
    )
    assert pool.submit(tasks.die_once, str(tmp_path / "b"), 2).result() == 2
    patient.shutdown()
    with patient:
        pass
    assert pool.submit(tasks.same, 3).result() == 3


def test_workers_killed_in_the_middle_of_a_map_lose_nothing_with_retries(make_pool):
    pool = make_pool(2, retries=50)
    killed = set()
    # Taken in step with the results, so that there always is work for which a new worker is hired.
    for number, value in enumerate(pool.map(tasks.nap_briefly, range(600), buffersize=20)):
        assert value == number
        if number % 50 == 49 and number < 550:
            assert until(lambda: set(pool.worker_pids()) - killed)
            killed.add(pid := (set(pool.worker_pids()) - killed).pop())
            os.kill(pid, signal.SIGKILL)
    counts = pool.statistics()
    assert counts.workers_died >= 5
    assert (counts.returned, counts.lost, counts.raised) == (600, 0, 0)


def test_a_program_that_a_task_started_does_not_hold_up_the_news_of_its_workers_end(make_pool, tmp_path):
    def start_and_die(path):
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        Path(path).write_text(str(child.pid))
        tasks.die()

    pool = make_pool(1)
    error = pool.submit(start_and_die, str(tmp_path / "child")).exception()
    os.kill(int((tmp_path / "child").read_text()), signal.SIGKILL)
    assert isinstance(error, whichever.WorkerDied)
    assert pool.submit(tasks.same, 1).result() == 1


def test_a_task_that_forks_answers_once(pool):
    def fork(value):
        pid = os.fork()
        if pid:
            os.waitpid(pid, 0)
        return value

    assert list(pool.map(fork, range(6))) == list(range(6))


def test_a_worker_that_stops_is_waited_for(make_pool):
    pool = make_pool(1)
    pid = pool.submit(os.getpid).result()
    os.kill(pid, signal.SIGSTOP)
    future = pool.submit(tasks.same, 1)
    with pytest.raises(TimeoutError):
        future.result(0.1)
    os.kill(pid, signal.SIGCONT)
    assert future.result() == 1
