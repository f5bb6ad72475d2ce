"""Ctrl-C ends everything at once, wherever the program waits: one traceback, and no process is left."""

import os
import signal
import time

import pytest

SECONDS = 1.5  # the aim is 0.2; other programs may have the cores
BEGIN = """
    import asyncio, concurrent.futures, os, sys, time
    import whichever
    def busy(item=None):
        os.write(1, b"busy" + bytes([10]))
        {body}
    pool = whichever.ProcessPool(2)
"""
ENDLESS = {
    "python": "while True: pass",
    "sleep": "time.sleep(1000)",
    "unwilling": """
        while True:
            try:
                while True: pass
            except BaseException: pass""",
}
WAITS = {
    "result": "pool.submit(busy); pool.submit(busy).result()",
    "exception": "pool.submit(busy); pool.submit(busy).exception()",
    "map": "list(pool.map(busy, range(100)))",
    "endless map": "import itertools\n    list(pool.map(busy, itertools.count()))",
    "wait": "concurrent.futures.wait([pool.submit(busy) for _ in range(10)])",
    "as_completed": "list(concurrent.futures.as_completed([pool.submit(busy) for _ in range(10)]))",
    "shutdown": "[pool.submit(busy) for _ in range(10)]; pool.shutdown()",
    "with": "\n    with pool:\n        [pool.submit(busy) for _ in range(10)]",
    "with result": "\n    with pool:\n        pool.submit(busy); pool.submit(busy).result()",
    "sleep": "[pool.submit(busy) for _ in range(10)]; time.sleep(1000)",
    "asyncio": (
        "\n    async def main():\n        loop = asyncio.get_running_loop()\n"
        "        await asyncio.gather(*(loop.run_in_executor(pool, busy) for _ in range(10)))\n"
        "    asyncio.run(main())"
    ),
    "thread": (
        "import threading\n    pool.submit(busy)\n"
        "    thread = threading.Thread(target=pool.submit(busy).result, daemon=True); thread.start(); thread.join()"
    ),
    "exit": "[pool.submit(busy) for _ in range(10)]",
}


def run(start, wait, body="python"):
    program = start(BEGIN.format(body=ENDLESS[body]) + "    " + WAITS[wait])
    assert [program.line(), program.line()] == ["busy", "busy"]
    return program


def ended(program, seconds=SECONDS):
    """Interrupt the program; return its error output and exit code after having looked at how it ended."""
    begun = time.monotonic()
    program.interrupt()
    _, err, code = program.finish()
    assert time.monotonic() - begun < seconds
    assert program.is_gone(seconds)
    return err, code


@pytest.mark.parametrize("wait", [wait for wait in WAITS if wait not in ("exit", "asyncio", "thread")])
def test_ctrl_c_ends_the_program_with_one_traceback(start, wait):
    err, code = ended(run(start, wait))
    assert err.count("Traceback (most recent call last)") == 1, err
    assert err.rstrip().endswith("KeyboardInterrupt")
    assert code == -signal.SIGINT


def test_ctrl_c_in_an_event_loop_ends_its_tasks(start):
    err, code = ended(run(start, "asyncio"))
    assert err.rstrip().endswith("KeyboardInterrupt")
    assert "concurrent" not in err
    assert code == -signal.SIGINT


def test_ctrl_c_reaches_what_other_threads_wait_for(start):
    err, code = ended(run(start, "thread"))
    assert "KeyboardInterrupt" in err
    assert "PoolBrokenError: the pool was ended" in err
    assert code == -signal.SIGINT


def test_ctrl_c_at_exit_ends_what_still_runs(start):
    err, _ = ended(run(start, "exit"))
    assert err.count("Traceback (most recent call last)") <= 1, err


@pytest.mark.parametrize("body", ["sleep", "unwilling"])
@pytest.mark.parametrize("wait", ["result", "map", "with"])
def test_ctrl_c_ends_tasks_that_do_not_listen(start, wait, body):
    err, code = ended(run(start, wait, body))
    assert err.count("Traceback (most recent call last)") == 1, err
    assert code == -signal.SIGINT


@pytest.mark.parametrize("wait", ["result", "with", "shutdown", "asyncio"])
def test_ctrl_c_twice_quickly_ends_it_too(start, wait):
    program = run(start, wait, "unwilling")
    program.interrupt()
    err, code = ended(program)
    assert "KeyboardInterrupt" in err
    assert code in (-signal.SIGINT, 1, 130)


def test_ctrl_c_while_workers_start_leaves_nothing(start):
    program = start("""
        import time, whichever
        print("begun", flush=True)
        pool = whichever.ProcessPool(2)
        pool.submit(time.sleep, 1000).result()
    """)
    assert program.line() == "begun"
    ended(program, 5)


def test_a_caught_ctrl_c_leaves_a_pool_that_can_be_used(start):
    program = start(
        BEGIN.format(body=ENDLESS["python"])
        + """
    try:
        list(pool.map(busy, range(50)))
    except KeyboardInterrupt:
        print("caught", flush=True)
    print(pool.submit(abs, -3).result(), flush=True)
    """
    )
    assert [program.line(), program.line()] == ["busy", "busy"]
    program.interrupt()
    out, err, code = program.finish()
    assert (out, err, code) == ("caught\n3\n", "", 0)
    assert program.is_gone()


def test_ctrl_c_that_the_program_ignores_disturbs_no_task(start):
    program = start("""
        import signal, time, whichever
        signal.signal(signal.SIGINT, lambda *_: print("heard", flush=True))
        def task(item):
            print("runs", flush=True)
            time.sleep(0.3)
            return item
        print(whichever.ProcessPool(1).submit(task, 5).result(), flush=True)
    """)
    assert program.line() == "runs"
    program.interrupt()
    out, err, code = program.finish()
    assert (out.split(), err, code) == (["heard", "5"], "", 0)


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_ctrl_c_ends_workers_of_multiprocessing_too(start, method):
    program = start(
        f"""
        import multiprocessing, os, time, warnings, whichever
        def busy(item=None):
            os.write(1, b"busy" + bytes([10]))
            while True: pass
        if __name__ == "__main__":
            warnings.simplefilter("ignore", DeprecationWarning)
            pool = whichever.ProcessPool(2, mp_context=multiprocessing.get_context("{method}"))
            list(pool.map(busy, range(10)))
        """
    )
    assert [program.line(), program.line()] == ["busy", "busy"]
    err, code = ended(program)
    assert err.rstrip().endswith("KeyboardInterrupt")
    assert code == -signal.SIGINT


def test_a_task_that_only_the_caller_is_told_to_end_keeps_its_program(start):
    program = start("""
        import os, time, whichever
        def busy():
            os.write(1, b"busy" + bytes([10]))
            time.sleep(1000)
        try:
            whichever.ProcessPool(1).submit(busy).result()
        except KeyboardInterrupt:
            print("caught", flush=True)
    """)
    assert program.line() == "busy"
    os.kill(program.process.pid, signal.SIGINT)
    out, err, code = program.finish()
    assert (out, err, code) == ("caught\n", "", 0)
    assert program.is_gone()


@pytest.mark.parametrize("method", ["_host.Host.hire", "_host.Host.ended", "_future.Future._tell"])
def test_ctrl_c_in_what_a_pool_does_for_itself_is_heard_afterwards(start, method):
    owner, _, name = method.rpartition(".")
    program = start(f"""
        import os, signal, time, whichever
        from concurrent import futures
        from whichever.executors import _future, _host
        real = {method}
        def interrupted(*args):
            {owner}.{name} = real
            signal.raise_signal(signal.SIGINT)
            return real(*args)
        {owner}.{name} = interrupted
        pool = whichever.ProcessPool(1, max_tasks_per_child=1)
        heard, end = False, time.monotonic() + 20
        while not heard and time.monotonic() < end:
            try:
                list(futures.as_completed([pool.submit(abs, -1)]))
                pool.submit(os.getpid).result()
            except KeyboardInterrupt:
                heard = True
        print(heard, {owner}.{name} is real, pool.submit(abs, -2).result(20))
        pool.shutdown()
    """)
    assert program.finish() == ("True True 2\n", "", 0)
