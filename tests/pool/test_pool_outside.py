"""What can be seen of tasks from outside: what they print and log, their context, names and numbers."""

import contextlib
import contextvars
import io
import logging
import os
import sys
from pathlib import Path

import pool_tasks as tasks
import pytest
from watching import until

import whichever

variable = contextvars.ContextVar("variable", default="unset")


def say(number):
    print("out", number)
    print("err", number, file=sys.stderr)
    return number


def read_variable(_item=None):
    return variable.get()


def set_variable(value):
    variable.set(value)


def test_what_a_task_prints_is_there_before_its_result(pool, capsys):
    for number in range(20):
        pool.submit(say, number).result()
        assert capsys.readouterr() == (f"out {number}\n", f"err {number}\n")


def test_what_tasks_print_comes_in_their_order(make_pool, capsys):
    pool = make_pool(1)
    assert list(pool.map(say, range(200))) == list(range(200))
    assert capsys.readouterr().out == "".join(f"out {number}\n" for number in range(200))


def test_what_a_task_prints_can_be_redirected(pool):
    target = io.StringIO()
    with contextlib.redirect_stdout(target):
        pool.submit(print, "caught", end="").result()
    assert target.getvalue() == "caught"


def test_long_and_odd_text_arrives_whole(make_pool, capsys):
    text = "ß€\U0001f600\r\n" * 50_000
    make_pool(1).submit(print, text, end="").result()
    assert capsys.readouterr().out == text


def test_text_of_a_long_task_arrives_while_it_runs(make_pool, tmp_path):
    def talk(gate):
        print("begun")
        tasks.wait_for(f"{gate}.runs", gate)

    gate = tmp_path / "gate"
    target = io.StringIO()
    with contextlib.redirect_stdout(target):
        future = make_pool(1).submit(talk, str(gate))
        assert until(lambda: target.getvalue() == "begun\n")
        gate.touch()
        future.result()


def test_a_closed_standard_output_stops_no_task(pool, monkeypatch):
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stdout", closed)
    assert pool.submit(say, 5).result() == 5


def test_a_task_finds_an_empty_standard_input(pool):
    assert pool.submit(lambda: sys.stdin.read()).result() == ""


def test_log_records_reach_the_callers_handlers_with_all_they_have(make_pool, caplog):
    def log():
        logger = logging.getLogger("far.away")
        logger.info("number %d", 5, extra={"shade": "green"})
        try:
            raise ValueError("inside")
        except ValueError:
            logger.exception("failed")
        return os.getpid()

    with caplog.at_level(logging.INFO):
        pid = make_pool(1).submit(log).result()
    first, second = (record for record in caplog.records if record.name == "far.away")
    assert (first.getMessage(), first.levelname, first.shade, first.process) == (
        "number 5",
        "INFO",
        "green",
        pid,
    )
    assert "ValueError: inside" in second.exc_text


def test_a_long_log_record_arrives_whole_and_in_its_place(make_pool, caplog):
    def log():
        logger = logging.getLogger("far.away")
        logger.warning("before")
        logger.warning("long %s", "text" * 100_000, extra={"table": list(range(50_000))})
        logger.warning("after")

    make_pool(1).submit(log).result()
    before, long, after = (record for record in caplog.records if record.name == "far.away")
    assert (before.message, after.message) == ("before", "after")
    assert long.message == "long " + "text" * 100_000
    assert long.table == list(range(50_000))


def test_the_callers_levels_hold_in_workers(make_pool, caplog):
    def log():
        for name in ("", "loud", "quiet"):
            logger = logging.getLogger(name)
            logger.debug("debug")
            logger.warning("warning")
        return logging.getLogger("quiet").isEnabledFor(logging.WARNING)

    caplog.set_level(logging.WARNING)
    caplog.set_level(logging.ERROR, "quiet")
    caplog.set_level(logging.DEBUG, "loud")  # last: caplog's own handler takes this level
    assert make_pool(1).submit(log).result() is False
    seen = [(record.name, record.levelname) for record in caplog.records]
    assert seen == [("root", "WARNING"), ("loud", "DEBUG"), ("loud", "WARNING")]


def test_prints_and_records_keep_their_order(make_pool):
    def both():
        for number in range(5):
            print("print", number)
            logging.getLogger("ordered").warning("log %d", number)

    target = io.StringIO()
    handler = logging.StreamHandler(target)
    logger = logging.getLogger("ordered")
    logger.addHandler(handler)
    try:
        with contextlib.redirect_stdout(target):
            make_pool(1).submit(both).result()
    finally:
        logger.removeHandler(handler)
    assert target.getvalue().splitlines() == [
        f"{kind} {number}" for number in range(5) for kind in ("print", "log")
    ]


def test_context_variables_travel_with_each_task_and_stay_there(make_pool):
    pool = make_pool(1)
    assert pool.submit(read_variable).result() == "unset"
    token = variable.set("from here")
    try:
        assert pool.submit(read_variable).result() == "from here"
        assert list(pool.map(read_variable, range(3))) == ["from here"] * 3
    finally:
        variable.reset(token)
    pool.submit(set_variable, "from a task").result()
    assert pool.submit(read_variable).result() == "unset"
    assert variable.get() == "unset"


def test_tasks_of_one_batch_do_not_see_each_others_context_variables(make_pool):
    def swap(value):
        before = variable.get()
        if value % 3:
            variable.set(f"task {value}")
        return before

    assert set(make_pool(1).map(swap, range(500))) == {"unset"}


def test_a_context_variable_that_does_not_pickle_stays_behind(make_pool):
    import threading

    token = variable.set(threading.Lock())
    try:
        assert make_pool(1).submit(read_variable).result() == "unset"
    finally:
        variable.reset(token)


def test_workers_are_named_for_ps(make_pool):
    def names():
        import multiprocessing

        return Path("/proc/self/comm").read_text().strip(), multiprocessing.current_process().name

    assert make_pool(1, name="squares").submit(names).result() == ("squares-1", "squares-1")
    pool = make_pool(2)
    pool.warm_up()
    assert until(lambda: len(pool.worker_pids()) == 2)
    shown = {Path(f"/proc/{pid}/comm").read_text().strip() for pid in pool.worker_pids()}
    assert shown == {"whichever-1", "whichever-2"}


def test_worker_pids_are_those_that_tasks_see(make_pool):
    pool = make_pool(1)
    pid = pool.submit(os.getpid).result()
    assert pool.worker_pids() == (pid,)
    pool.shutdown()
    assert pool.worker_pids() == ()


def test_the_statistics_add_up(make_pool, tmp_path):
    pool = make_pool(1)
    for number in range(10):
        pool.submit(tasks.same, number).result()
    pool.submit(tasks.fail, "x").exception()
    pool.submit(tasks.die).exception()
    pool.options(timeout=0.05).submit(tasks.sleep_on, str(tmp_path / "timed")).exception()
    gate = tmp_path / "gate"
    running = pool.submit(tasks.wait_for, str(tmp_path / "runs"), str(gate))
    waiting = [pool.submit(tasks.same, 1) for _ in range(5)]
    waiting[0].cancel()
    assert until(running.running)
    now = pool.statistics()
    assert now.submitted == 19
    assert now.waiting + now.under_way >= 5
    assert now.workers == 1
    gate.touch()
    pool.shutdown()
    end = pool.statistics()
    assert (end.returned, end.raised, end.lost, end.timed_out, end.cancelled) == (15, 1, 1, 1, 1)
    assert end.submitted == end.returned + end.raised + end.lost + end.timed_out + end.cancelled
    assert (end.waiting, end.under_way, end.workers) == (0, 0, 0)
    assert end.workers_died >= 1
    assert end.workers_started >= 2


def test_busy_seconds_are_the_tasks_run_time(make_pool):
    pool = make_pool(2)
    list(pool.map(tasks.nap, [0.1] * 4))
    assert 0.4 <= pool.statistics().busy_seconds < 2


def test_the_surroundings_of_the_caller_are_those_of_the_task(make_pool, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SHADE", "green")
    monkeypatch.setattr(sys, "argv", ["program", "--word"])
    pool = make_pool(1)
    assert pool.submit(os.getcwd).result() == str(tmp_path)
    assert pool.submit(os.environ.get, "SHADE").result() == "green"
    assert pool.submit(lambda: sys.argv).result() == ["program", "--word"]


@pytest.mark.parametrize("method", [None, "forkserver"])
def test_the_cores_and_the_umask_of_the_caller_are_those_of_workers_that_start_later(start, method):
    program = start(f"""
        import multiprocessing, os, whichever
        def look():
            os.umask(before := os.umask(0))
            return sorted(os.sched_getaffinity(0)), before
        def ask():
            with whichever.ProcessPool(1, {method and f"multiprocessing.get_context({method!r})"}) as pool:
                return pool.submit(look).result()
        if __name__ == "__main__":
            assert ask() == look()
            os.umask(0o027)
            os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
            assert ask() == look() and look()[1] == 0o027
    """)
    assert program.finish() == ("", "", 0)


def test_inner_threads_are_limited_except_where_the_user_says(make_pool, monkeypatch):
    monkeypatch.setenv("MKL_NUM_THREADS", "5")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)

    def look():
        return os.environ["OMP_NUM_THREADS"], os.environ["MKL_NUM_THREADS"]

    cores = max(int(whichever._core.usable_cores()["cores"]), 1)
    assert make_pool(1, inner_threads=3).submit(look).result() == ("3", "5")
    assert make_pool(cores).submit(look).result() == ("1", "5")
    assert "OMP_NUM_THREADS" not in os.environ


def test_blas_keeps_to_its_share(make_pool):
    pytest.importorskip("numpy")

    def threads_after_a_product():
        import numpy as np

        np.ones((500, 500)) @ np.ones((500, 500))
        return len(os.listdir("/proc/self/task"))

    assert make_pool(2, inner_threads=1).submit(threads_after_a_product).result() == 1


def test_a_worker_that_has_grown_is_replaced_after_its_task(make_pool):
    def grow():
        tasks.kept = bytearray(150_000_000)
        tasks.kept[::4096] = b"x" * len(tasks.kept[::4096])
        return os.getpid()

    pool = make_pool(1, max_memory_bytes=120_000_000)
    before = pool.submit(os.getpid).result()
    assert pool.submit(os.getpid).result() == before
    assert pool.submit(grow).result() == before
    assert until(lambda: pool.submit(os.getpid).result() != before)
    assert pool.statistics().workers_recycled == 1
    assert pool.statistics().workers_died == 0


def test_a_further_pool_gets_a_worker_that_was_kept_ready(make_pool):
    used = {make_pool(1).submit(os.getpid).result() for _ in range(2)}
    template = _parent(next(iter(used)))
    assert until(lambda: _children(template) - used)
    ready = _children(template) - used
    assert make_pool(1).submit(os.getpid).result() in ready


def _parent(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def _children(pid):
    return {int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}
