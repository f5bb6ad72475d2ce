"""How programs with thread pools end: by themselves, by Ctrl-C, forked; what is run then and what is not."""

import signal
import threading
import time
from concurrent import futures

import pytest
from threads_waiting import until

SECONDS = 1.5  # the aim is 0.2; other programs may have the cores
BUSY = """
    import os, threading, time, whichever
    began = threading.Event()
    def busy():
        os.write(1, b"busy" + bytes([10]))
        began.set()
        time.sleep(1000)
"""


@pytest.mark.parametrize("holder", ["pool = ", ""])
def test_a_program_that_ends_runs_what_was_handed_in(start, tmp_path, holder):
    program = start(f"""
        import time, whichever
        def task(number):
            time.sleep(0.01)
            open(f"ran{{number}}", "w").close()
        {holder}[pool := whichever.ThreadPool(2)][0]
        for number in range(10):
            pool.submit(task, number)
        {"" if holder else "del pool"}
    """)
    assert program.finish() == ("", "", 0)
    assert len(list(tmp_path.glob("ran*"))) == 10


def test_a_program_that_ends_leaves_the_tasks_of_a_daemon_pool_behind(start, tmp_path):
    program = start(
        BUSY
        + """
    pool = whichever.ThreadPool(1, daemon=True)
    running, waiting = pool.submit(busy), pool.submit(open, "ran", "w")
    waiting.add_done_callback(lambda future: print("cancelled", future.cancelled(), flush=True))
    began.wait()
    """
    )
    begun = time.monotonic()
    assert program.finish() == ("busy\ncancelled True\n", "", 0)
    assert time.monotonic() - begun < 20
    assert not (tmp_path / "ran").exists()


def test_at_exit_no_task_is_taken_any_more(start):
    program = start("""
        import time, whichever
        pool = whichever.ThreadPool(1)
        def more(future):
            try:
                pool.submit(abs, 1)
            except RuntimeError as error:
                print(error)
        pool.submit(time.sleep, 0.2).add_done_callback(more)
    """)
    assert program.finish() == ("cannot schedule new futures after interpreter shutdown\n", "", 0)


@pytest.mark.parametrize(
    "wait",
    [
        "pool.submit(busy).result()",
        "pool.shutdown()",
        "list(pool.map(lambda _: busy(), range(3)))",
        "\n    with pool: pool.submit(busy)",
        "time.sleep(1000)",
    ],
)
def test_after_ctrl_c_what_runs_is_left_behind_and_what_waits_is_not_run(start, tmp_path, wait):
    program = start(
        BUSY
        + f"""
    pool = whichever.ThreadPool(2)
    pool.submit(busy); pool.submit(busy)
    pool.submit(open, "ran", "w")
    {wait}
    """
    )
    assert [program.line(), program.line()] == ["busy", "busy"]
    begun = time.monotonic()
    program.interrupt()
    _, err, code = program.finish()
    assert time.monotonic() - begun < SECONDS
    assert err.count("Traceback (most recent call last)") == 1, err
    assert err.rstrip().endswith("KeyboardInterrupt")
    assert code == -signal.SIGINT
    assert not (tmp_path / "ran").exists()


def test_ctrl_c_while_tasks_are_handed_in_loses_no_thread(start):
    program = start("""
        import signal, sys, threading, time, whichever
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        for _ in range(30):
            pool = whichever.ThreadPool(8)
            barrier = threading.Barrier(8)
            handed_in = []
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.0005)
                handed_in = [pool.submit(time.sleep, 0.001) for _ in range(200)]
                time.sleep(1)
            except KeyboardInterrupt:
                pass
            pool.submit(abs, 1).result(20)
            assert sorted(pool.map(lambda _: barrier.wait(20), range(8))) == list(range(8))
            pool.shutdown()
            assert pool.statistics().workers == 0, pool.statistics()
        print("all")
    """)
    assert program.finish() == ("all\n", "", 0)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_has_threads_of_its_own(start):
    program = start(
        """
        import os, threading, time, whichever
        pool = whichever.ThreadPool(2)
        gate = threading.Event()
        running, waiting = pool.submit(gate.wait, 20), pool.submit(gate.wait, 20)
        queued = pool.submit(abs, 1)
        child = os.fork()
        if child == 0:
            assert pool.statistics().workers == 0
            assert pool.submit(abs, -2).result(20) == 2
            assert list(pool.map(abs, range(100))) == list(range(100))
            try:
                queued.result(20)
            except RuntimeError as error:
                print(error, flush=True)
            pool.submit(time.sleep, 0.05).add_done_callback(lambda _: os.write(1, b"callback" + bytes([10])))
            raise SystemExit(5)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        gate.set()
        print(status, queued.result(20))
        """,
        warnings="ignore",
    )
    out, err, code = program.finish()
    assert (err, code) == ("", 0)
    assert out.splitlines() == [
        "this task stayed in the process that was forked: its result never comes here",
        "callback",
        "5 1",
    ]


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_children_forked_while_the_first_threads_start_have_all_they_need(start):
    # What a first thread was making for all just then is never finished in the child.
    program = start(
        """
        import os, signal, threading, time, whichever

        def use_pool(delay):
            pool, gate = whichever.ThreadPool(2), threading.Event()
            running = [pool.submit(gate.wait, 20) for _ in range(2)]
            begun = time.perf_counter()
            while time.perf_counter() < begun + delay:
                pass
            child = os.fork()
            if child == 0:
                signal.alarm(20)
                assert pool.submit(abs, -2).result() == 2
                assert list(pool.map(abs, range(3))) == [0, 1, 2]
                os._exit(5)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 5
            gate.set()
            assert all(future.result(20) for future in running)
            pool.shutdown()

        for attempt in range(80):
            fresh = os.fork()
            if fresh == 0:
                use_pool(attempt % 4 * 0.00003)
                os._exit(7)
            assert os.waitstatus_to_exitcode(os.waitpid(fresh, 0)[1]) == 7, attempt
        print("all")
        """,
        warnings="ignore",
    )
    assert program.finish() == ("all\n", "", 0)


def test_a_task_may_fork(start):
    program = start(
        """
        import os, whichever
        def fork():
            child = os.fork()
            if child == 0:
                os._exit(3)
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        with whichever.ThreadPool(2) as pool:
            print(list(pool.map(lambda _: fork(), range(10))))
        """,
        warnings="ignore",
    )
    assert program.finish() == (f"{[3] * 10}\n", "", 0)


def test_shutdown_waits_for_tasks_unless_told_otherwise(make_pool):
    pool, gate, ended = make_pool(1), threading.Event(), []
    pool.submit(lambda: (gate.wait(20), ended.append(1)))
    pool.shutdown(wait=False)
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        pool.submit(abs, 1)
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        pool.map(abs, [1])
    assert not ended
    gate.set()
    pool.shutdown()
    assert ended == [1]


def test_shutdown_waits_for_a_thread_that_is_just_being_started(make_pool, monkeypatch):
    entered, gate, ran = threading.Event(), threading.Event(), []
    start = threading.Thread.start

    def start_late(thread):
        if thread.name.startswith("late"):
            entered.set()
            assert gate.wait(20)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_late)
    pool = make_pool(1, "late")
    submitter = threading.Thread(target=pool.submit, args=(ran.append, 1))
    submitter.start()
    assert entered.wait(20)
    seen = []
    closer = threading.Thread(target=lambda: (pool.shutdown(), seen.extend(ran)))
    closer.start()
    closer.join(0.2)  # time enough to come back too early
    gate.set()
    closer.join(20)
    submitter.join(20)
    assert seen == [1]


def test_shutdown_cancels_what_waits_if_told_to(make_pool):
    pool, gate = make_pool(1), threading.Event()
    running = pool.submit(gate.wait, 20)
    assert until(running.running)
    waiting = [pool.submit(abs, 1) for _ in range(10)]
    results = pool.map(abs, range(10))
    pool.shutdown(wait=False, cancel_futures=True)
    assert all(future.cancelled() for future in waiting)
    gate.set()
    assert running.result(20)
    with pytest.raises(futures.CancelledError):
        next(results)


def test_a_pool_may_be_shut_down_by_its_own_task(make_pool):
    pool = make_pool(1)
    pool.submit(pool.shutdown).result(20)
    pool.shutdown()


def test_an_open_map_does_not_hold_up_the_exit(start):
    program = start("""
        import itertools, whichever
        pool = whichever.ThreadPool(2)
        results = pool.map(abs, itertools.count())
        print(next(results), next(results))
    """)
    assert program.finish() == ("0 1\n", "", 0)
