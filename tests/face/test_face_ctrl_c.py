"""One Ctrl-C ends a program at once, whatever pool it waits for: one traceback, and nothing is left."""

import signal
import time

import pytest

SECONDS = 1.5  # the aim is 0.2; other programs may have the cores
BEGIN = """
    import asyncio, concurrent.futures, itertools, os, sys, time
    import whichever
    def busy(item=None):
        os.write(1, b"busy" + bytes([10]))
        while True: time.sleep(0.01)
    async def abusy(item=None):
        os.write(1, b"busy" + bytes([10]))
        await asyncio.sleep(1000)
    task = abusy if "{kind}" == "AsyncPool" else busy
    pool = whichever.{kind}(2)
"""
WAITS = {
    "result": "pool.submit(task); pool.submit(task).result()",
    "map": "list(pool.map(task, range(100)))",
    "endless map": "list(pool.map(task, itertools.count()))",
    "unordered map": "list(pool.map(task, range(100), ordered=False))",
    "wait": "concurrent.futures.wait([pool.submit(task) for _ in range(10)])",
    "shutdown": "[pool.submit(task) for _ in range(10)]; pool.shutdown()",
    "with": "\n    with pool:\n        [pool.submit(task) for _ in range(10)]",
    "with result": "\n    with pool:\n        pool.submit(task); pool.submit(task).result()",
    # Not one long sleep: a signal that comes just before it does not end it, which is the interpreter's own doing.
    "sleep": "[pool.submit(task) for _ in range(10)]\n    while True: time.sleep(0.05)",
    "exit": "[pool.submit(task) for _ in range(10)]",
}


@pytest.mark.but("SerialPool", "ProcessPool")
@pytest.mark.parametrize("wait", WAITS)
def test_ctrl_c_ends_the_program_with_one_traceback(start, kind, wait):
    program = start(BEGIN.format(kind=kind) + "    " + WAITS[wait])
    assert [program.line(), program.line()] == ["busy", "busy"]
    begun = time.monotonic()
    program.interrupt()
    _, err, code = program.finish()
    assert time.monotonic() - begun < SECONDS
    if wait == "exit":  # the interpreter is ending: what Ctrl-C raises there is shown and goes nowhere
        assert err.count("Traceback (most recent call last)") <= 1, err
        return
    assert err.count("Traceback (most recent call last)") == 1, err
    assert err.rstrip().endswith("KeyboardInterrupt")
    assert code == -signal.SIGINT


def test_ctrl_c_in_a_task_of_a_serial_pool_leaves_through_submit(start):
    program = start("""
        import os, time, whichever
        def busy():
            os.write(1, b"busy" + bytes([10]))
            time.sleep(1000)
        with whichever.SerialPool() as pool:
            pool.submit(busy)
    """)
    assert program.line() == "busy"
    program.interrupt()
    _, err, code = program.finish()
    assert err.count("Traceback (most recent call last)") == 1, err
    assert "in busy" in err
    assert code == -signal.SIGINT


@pytest.mark.but("SerialPool", "ProcessPool")
def test_a_caught_ctrl_c_leaves_a_pool_that_can_be_used(start, kind):
    program = start(
        BEGIN.format(kind=kind)
        + f"""
    async def answer():
        return 3
    try:
        pool.submit(task).result()
    except KeyboardInterrupt:
        print("caught", flush=True)
    easy = pool.submit(answer) if "{kind}" == "AsyncPool" else pool.submit(abs, -3)
    print(easy.result(), flush=True)
    pool._end_now()
    """
    )
    assert program.line() == "busy"
    program.interrupt()
    out, err, code = program.finish()
    assert (out, err, code) == ("caught\n3\n", "", 0)


@pytest.mark.but("SerialPool")
def test_a_program_that_ends_without_shutdown_runs_what_was_handed_in(start, kind):
    program = start(f"""
        import asyncio, os, time, whichever
        def task(item):
            time.sleep(0.02)
            os.write(1, b"ran" + bytes([10]))
        async def atask(item):
            await asyncio.to_thread(task, item)
        pool = whichever.{kind}(2)
        [pool.submit(atask if "{kind}" == "AsyncPool" else task, item) for item in range(6)]
    """)
    out, err, code = program.finish()
    assert (out, err, code) == ("ran\n" * 6, "", 0)
