"""How engines end: killed workers, a killed caller, Ctrl-C, tasks that never end, exit."""

import os
import signal
import time

import pytest

from whichever.executors import ENGINES

PARALLEL = [name for name in ("threads", "interpreters", "processes") if ENGINES[name].unavailable() is None]


@pytest.mark.parametrize(
    ("fatal", "words"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "was killed by SIGKILL"),
        ("os._exit(7)", "exited with code 7"),
        ("os.abort()", "was killed by SIGABRT"),
        ("(os.fork() or time.sleep(20)) and os._exit(3)", "exited with code 3"),
    ],
)
def test_a_worker_that_dies_is_named_with_its_end(start, fatal, words):
    program = start(f"""
        import os, signal, time, warnings
        from whichever.errors import EngineError
        from whichever.executors import open_engine
        def die(item):
            if item == 2:
                print(os.getpid(), flush=True)
                {fatal}
            return item
        engine = open_engine("processes", 2)
        try:
            engine.run(die, range(10))
        except EngineError as error:
            print(error)
        try:
            engine.run(die, [1])
        except EngineError as error:
            print(error)
    """)
    pid = program.line()
    message, again = program.line(), program.line()
    assert f"worker process {pid} of the processes engine {words} while it had task" in message
    assert "the processes engine is closed; open a new one" in again
    assert program.process.wait(30) == 0


def test_a_task_that_forks_answers_once(start):
    program = start("""
        import os
        from whichever.executors import open_engine
        def split(item):
            pid = os.fork()
            if pid:
                os.waitpid(pid, 0)
            return item
        with open_engine("processes", 2) as engine:
            print([outcome.value for outcome in engine.run(split, range(6))])
    """)
    assert program.finish() == ("[0, 1, 2, 3, 4, 5]\n", "", 0)


@pytest.mark.parametrize("body", ["while True: pass", "time.sleep(1000)"])
def test_when_the_caller_is_killed_its_workers_die(start, body):
    program = start(f"""
        import os, time
        from whichever.executors import open_engine
        def busy(item):
            os.write(1, b"busy" + bytes([10]))
            {body}
        open_engine("processes", 2).run(busy, [1, 2])
    """)
    assert [program.line(), program.line()] == ["busy", "busy"]
    assert len(program.group()) == 4
    os.kill(program.process.pid, signal.SIGKILL)
    assert program.is_gone()


def test_idle_workers_die_with_a_caller_that_is_killed(start):
    program = start("""
        import time
        from whichever.executors import open_engine
        engine = open_engine("processes", 2)
        print("open", flush=True)
        time.sleep(1000)
    """)
    assert program.line() == "open"
    os.kill(program.process.pid, signal.SIGKILL)
    assert program.is_gone()


@pytest.mark.parametrize("name", PARALLEL)
@pytest.mark.parametrize("body", ["while True: pass", "time.sleep(1000)"])
def test_ctrl_c_ends_a_run_whose_tasks_never_do(start, name, body):
    # An interpreter in a native call cannot be stopped; Python warns of it when it leaves.
    warnings = "default" if name == "interpreters" else "error"
    program = start(
        f"""
        import os, time
        from whichever.executors import open_engine
        def busy(item):
            import os, time
            os.write(1, b"busy" + bytes([10]))
            {body}
        try:
            with open_engine("{name}", 2) as engine:
                engine.run(busy, [1, 2])
        except KeyboardInterrupt:
            print("interrupted", time.monotonic(), flush=True)
        """,
        warnings=warnings,
    )
    assert [program.line(), program.line()] == ["busy", "busy"]
    start_time = time.monotonic()
    program.interrupt()
    word, at = program.line().split()
    assert word == "interrupted"
    assert float(at) - start_time < 0.8
    _, err, code = program.finish()
    assert code == 0
    assert [line for line in err.splitlines() if "remaining subinterpreters" not in line] == []
    assert program.is_gone()


@pytest.mark.parametrize("name", PARALLEL)
def test_a_program_that_forgets_to_close_its_engine_still_ends(start, name):
    program = start(f"""
        import warnings
        from whichever.executors import open_engine
        warnings.simplefilter("ignore", ResourceWarning)
        engine = open_engine("{name}", 2)
        print([outcome.value for outcome in engine.run(lambda item: item, [1, 2])])
    """)
    out, err, code = program.finish()
    assert (out, err, code) == ("[1, 2]\n", "", 0)
    assert program.is_gone()


def test_a_coroutine_that_never_ends_is_cancelled_by_ctrl_c(start):
    program = start("""
        import asyncio
        from whichever.executors import open_engine
        async def endless(item):
            try:
                print("busy", flush=True)
                await asyncio.sleep(1000)
            finally:
                print("cleaned", flush=True)
        try:
            with open_engine("async", 2) as engine:
                engine.run(endless, [1, 2, 3])
        except KeyboardInterrupt:
            print("interrupted")
    """)
    assert [program.line(), program.line()] == ["busy", "busy"]
    program.interrupt()
    assert program.finish() == ("cleaned\ncleaned\ninterrupted\n", "", 0)


def test_a_module_that_starts_threads_is_left_to_the_workers(start, tmp_path):
    (tmp_path / "threaded.py").write_text(
        "import os, threading\n"
        "OWNER = os.getpid()\n"
        "threading.Thread(target=threading.Event().wait, daemon=True).start()\n"
    )
    (tmp_path / "single.py").write_text("import os\nOWNER = os.getpid()\n")
    program = start("""
        import os
        from whichever.executors import open_engine
        def owners(item):
            import single, threaded
            return os.getpid() == threaded.OWNER, os.getpid() == single.OWNER
        with open_engine("processes", 2, modules=["single", "threaded", "no_such_module"]) as engine:
            print([outcome.value for outcome in engine.run(owners, [1, 2])])
    """)
    assert program.finish() == ("[(True, False), (True, False)]\n", "", 0)
