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
def test_a_worker_that_dies_costs_its_task_and_is_named_with_its_end(start, fatal, words):
    program = start(f"""
        import os, signal, time
        from whichever.errors import WorkerDied
        from whichever.executors import open_engine
        def die(item):
            if item == 2:
                print(os.getpid(), flush=True)
                {fatal}
            return item
        with open_engine("processes", 2) as engine:
            outcomes = engine.run(die, range(10))
            lost = outcomes.pop(2)
            print(type(lost.error) is WorkerDied, lost.error.pid, str(lost.error).splitlines()[0], flush=True)
            print([outcome.value for outcome in outcomes])
            print([outcome.value for outcome in engine.run(die, [11, 12])])
    """)
    out, _, code = program.finish()
    pid, lost, values, after = out.splitlines()
    assert lost.startswith(f"True {pid} worker process {pid} {words} while it ran this task")
    assert (values, after, code) == ("[0, 1, 3, 4, 5, 6, 7, 8, 9]", "[11, 12]", 0)


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
    assert len(program.group()) == 4  # the caller, its template, two workers
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


def test_modules_are_loaded_ahead_by_each_worker_and_those_that_fail_are_passed_over(start, tmp_path):
    (tmp_path / "threaded.py").write_text(
        "import os, threading\n"
        "OWNER = os.getpid()\n"
        "threading.Thread(target=threading.Event().wait, daemon=True).start()\n"
    )
    program = start("""
        import os, sys
        from whichever.executors import open_engine
        def look(item):
            return "threaded" in sys.modules and sys.modules["threaded"].OWNER == os.getpid()
        with open_engine("processes", 2, modules=["no_such_module", "threaded"]) as engine:
            print([outcome.value for outcome in engine.run(look, [1, 2])])
    """)
    assert program.finish() == ("[True, True]\n", "", 0)


def test_a_worker_that_loads_a_module_which_starts_workers_is_stopped(start, tmp_path):
    (tmp_path / "recursive.py").write_text(
        "import os\n"
        "from whichever.executors import open_engine\n"
        "if os.environ['CALLER'] != str(os.getpid()):\n"
        "    open_engine('processes', 1)\n"
    )
    program = start("""
        import os, sys
        os.environ["CALLER"] = str(os.getpid())
        from whichever.executors import open_engine
        with open_engine("processes", 1, modules=["recursive"]) as engine:
            print(engine.run(lambda item: "recursive" in sys.modules, [1])[0].value)
    """)
    assert program.finish() == ("False\n", "", 0)


def test_a_module_that_ends_workers_as_they_load_it_is_an_error_in_words(start, tmp_path):
    (tmp_path / "fatal.py").write_text("import os\nos._exit(9)\n")
    program = start("""
        from whichever.errors import EngineError
        from whichever.executors import open_engine
        try:
            open_engine("processes", 2, modules=["fatal"])
        except EngineError as error:
            print(error)
    """)
    out, err, code = program.finish()
    assert (
        "could not start its workers: worker processes end before they are ready: exited with code 9" in out
    )
    assert (err, code) == ("", 0)


def test_a_question_being_answered_has_no_worker_import_the_advisor(start):
    program = start("""
        import sys
        from whichever.advisor._asking import _asking
        from whichever.executors import open_engine
        def task(item):
            return "whichever.advisor" in sys.modules
        _asking.set(True)
        with open_engine("processes", 1) as engine:
            print(engine.run(task, [1])[0].value)
    """)
    assert program.finish() == ("False\n", "", 0)
