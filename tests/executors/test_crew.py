"""Where workers come from: templates, spares, multiprocessing; and that they all end."""

import os
import signal
import sys
import textwrap
import time

import fake_core
import pytest

from whichever.errors import EngineError, WorkerDied
from whichever.executors import _crew
from whichever.executors._remote import cargo
from whichever.executors._remote.loading import loading

PRELUDE = """
    import sys
    sys.path.insert(0, {folder!r})
    import fake_core
    import whichever
    import whichever._core as real
    fake_core.__getattr__ = lambda name: getattr(real, name)
    whichever._core = sys.modules["whichever._core"] = fake_core
    import os, signal, time
    from hand import Hand
    from whichever.executors._crew import crew
    def where():
        import os
        return os.getpid(), os.getppid()
"""


def script(text):
    folder = os.path.dirname(__file__)
    return textwrap.dedent(PRELUDE.format(folder=folder)) + textwrap.dedent(text)


def until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True


def threads_of(pid):
    return len(os.listdir(f"/proc/{pid}/task"))


def test_a_worker_is_another_process_with_the_callers_surroundings(hire, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("A_VARIABLE", "of the caller")
    monkeypatch.setattr(sys, "argv", ["program", "--word"])
    hand = hire(name="whichever-7")

    def look():
        import multiprocessing
        import os
        import sys
        import threading

        with open("/proc/self/comm") as file:
            comm = file.read().strip()
        name = multiprocessing.current_process().name
        in_main = threading.current_thread() is threading.main_thread()
        return os.getpid(), os.getcwd(), os.environ.get("A_VARIABLE"), sys.argv, comm, name, in_main

    pid, *rest = hand.ask(look)
    assert pid == fake_core.answer("F", hand.hired.token)[1] != os.getpid()
    assert rest == [str(tmp_path), "of the caller", ["program", "--word"], "whichever-7", "whichever-7", True]


def test_inner_threads_are_limited_except_where_the_user_says(hire, monkeypatch):
    monkeypatch.setenv("MKL_NUM_THREADS", "5")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)

    def look():
        import os

        return os.environ["OMP_NUM_THREADS"], os.environ["MKL_NUM_THREADS"]

    assert [hire(inner_threads=share).ask(look) for share in (3, 1)] == [("3", "5"), ("1", "5")]


def test_the_second_worker_is_a_spare_that_has_already_been_forked(crew, hire):
    hire().ask(os.getpid)
    (template,) = crew._templates.values()
    waiting = {spare.token: fake_core.answer("F", spare.token)[1] for spare in template.spares}
    hand = hire()
    assert len(waiting) == 2
    assert hand.ask(os.getpid) == waiting[hand.hired.token]


def test_a_spare_that_has_died_is_replaced(crew, hire):
    hire().ask(os.getpid)
    (template,) = crew._templates.values()
    dead = [spare.token for spare in template.spares]
    for token in dead:
        os.kill(fake_core.answer("F", token)[1], signal.SIGKILL)
        fake_core.answer("D", token)
    hand = hire()
    assert hand.hired.token not in dead
    assert hand.ask(int, "7") == 7


def test_a_module_of_an_installation_is_imported_before_the_fork(crew, hire):
    def is_there():
        import sys

        return "mailbox" in sys.modules

    first, second = hire(), hire(modules=("mailbox",))
    assert (first.ask(is_there), second.ask(is_there)) == (False, True)
    (template,) = crew._templates.values()
    fake_core.answer("F", template.spares[0].token)
    token = template.spares[0].token
    third = hire(modules=("mailbox",))
    assert third.hired.token == token
    assert third.ask(is_there)


def test_a_module_of_the_user_is_loaded_by_each_worker_for_itself(crew, hire, monkeypatch, tmp_path):
    module = tmp_path / "changing_module.py"
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def value():
        import changing_module

        return changing_module.VALUE

    seen = []
    for text in ("VALUE = 1", "VALUE = 22"):
        module.write_text(text)
        seen.append(hire(modules=("changing_module",)).ask(value))
    assert seen == [1, 22]


def test_a_module_that_starts_threads_is_left_to_the_workers(crew, hire, monkeypatch, tmp_path):
    (tmp_path / "starts_threads.py").write_text(
        "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(_crew, "_is_installed", lambda _name: True)
    before = hire()
    old = before.ask(os.getpid)
    after = hire(modules=("starts_threads",))
    new = after.ask(os.getpid)
    assert (threads_of(old), threads_of(new), threads_of(after.ask(os.getppid))) == (1, 2, 1)
    assert before.ask(os.getpid) == old
    os.kill(old, signal.SIGKILL)
    assert fake_core.answer("D", before.hired.token)[1] == signal.SIGKILL


def test_the_template_tells_how_a_worker_ended_and_what_memory_it_had(hire):
    hand = hire()
    pid = hand.ask(lambda: len(bytearray(80_000_000)) and __import__("os").getpid())
    hand.begin(os._exit, 3)
    _, status, _, memory, who = fake_core.answer("D", hand.hired.token)
    assert (os.waitstatus_to_exitcode(status), who) == (3, pid)
    assert 80_000_000 < memory * 1024 < 400_000_000


@pytest.mark.parametrize("end", ["close", "leave"])
def test_a_worker_ends_with_its_socket_even_in_native_code(hire, end):
    hand = hire()
    hand.begin(time.sleep, 1000) if end == "close" else hand.ask(int)
    hand.hired.close() if end == "close" else hand.stop()
    status = fake_core.answer("D", hand.hired.token)[1]
    assert status == (signal.SIGKILL if end == "close" else 0)


def test_a_killed_template_takes_its_workers_along_and_another_one_is_started(crew, hire):
    first = hire()
    template = first.ask(os.getppid)
    os.kill(template, signal.SIGKILL)
    assert first.is_gone()
    assert hire().ask(os.getppid) not in (template, os.getpid())


def test_a_large_configuration_does_not_wait_for_the_worker(hire, monkeypatch):
    for number in range(100):
        monkeypatch.setenv(f"LARGE_{number}", "x" * 10_000)
    assert hire().ask(lambda: len(__import__("os").environ["LARGE_99"])) == 10_000


def test_the_initializer_runs_first_and_its_objects_travel_by_value(hire):
    state = {}

    def start(word, *, keep=state):
        import builtins

        builtins.word_of_the_initializer = word, keep

    hand = hire(initializer=start, initargs=("hello",))
    assert hand.ask(lambda: __import__("builtins").word_of_the_initializer) == ("hello", {})


def test_an_initializer_that_raises_is_reported_and_ends_the_worker(hire):
    def start():
        raise LookupError("nothing there")

    hand = hire(initializer=start)
    assert hand.is_gone()
    ((kind, blob),) = hand.said
    error = cargo.load_error(blob)
    assert (kind, type(error), str(error)) == ("failed", LookupError, "nothing there")
    assert fake_core.answer("D", hand.hired.token)[1] == 1 << 8


def test_an_initializers_long_exception_is_cut_to_what_the_core_sends(hire):
    def start():
        raise LookupError("x" * 100_000)

    hand = hire(initializer=start)
    assert hand.is_gone()
    error = cargo.load_error(hand.said[0][1])
    assert error.type_name == "builtins.LookupError"
    assert "characters cut" in error.text


def test_a_crash_leaves_its_python_stack(hire):
    hand = hire()

    def deep():
        __import__("os").abort()

    hand.begin(deep)
    fake_core.answer("D", hand.hired.token)
    assert "Fatal Python error: Aborted" in hand.hired.stack()
    assert "in deep" in hand.hired.stack()


def test_a_worker_that_ends_well_leaves_no_stack(hire):
    hand = hire()
    hand.stop()
    fake_core.answer("D", hand.hired.token)
    assert hand.hired.stack() is None


def test_no_worker_is_hired_while_a_worker_loads_a_payload(crew):
    with loading, pytest.raises(EngineError, match="at its top level"):
        crew.hire(None)
    assert not loading


@pytest.mark.parametrize("end", ["", "os.kill(os.getpid(), signal.SIGKILL)", "raise KeyboardInterrupt"])
def test_however_the_caller_ends_nothing_of_it_is_left(start, end):
    program = start(
        script(f"""
        hands = [Hand(crew) for _ in range(2)]
        print(len({{pid for hand in hands for pid in hand.ask(where)}}), flush=True)
        hands[0].begin(lambda: __import__("time").sleep(1000))
        for hand in hands:
            hand.close()
        {end}
    """)
    )
    assert program.line() == "3"
    program.finish()
    assert program.is_gone()


def test_a_forked_copy_of_the_caller_keeps_no_worker_alive_and_hires_its_own(start):
    program = start(
        script("""
        hand = Hand(crew)
        pid, template = hand.ask(where)
        if not os.fork():
            other = Hand(crew)
            print(other.ask(where)[1] != template, flush=True)
            other.close()
            crew.close()
            signal.pause()
        print(pid, template, flush=True)
        signal.pause()
    """),
        warnings="ignore",
    )
    lines = sorted([program.line(), program.line()])
    pid, template = map(int, lines[0].split())
    assert lines[1] == "True"
    os.kill(program.process.pid, signal.SIGKILL)
    assert until(lambda: not {pid, template} & set(program.group()))
    assert program.group()  # the copy lives on


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_multiprocessing_makes_workers_too(start, method):
    program = start(
        script(f"""
        import multiprocessing
        def begin(word):
            os.environ["WORD"] = word
        def look():
            return os.environ["WORD"], os.environ["OMP_NUM_THREADS"], multiprocessing.current_process().name
        if __name__ == "__main__":
            context = multiprocessing.get_context({method!r})
            order = {{"context": context, "initializer": begin, "initargs": ("hello",), "name": "whichever-3"}}
            hands = [Hand(crew, **order) for _ in range(2)]
            print([hand.ask(look) for hand in hands])
            print(hands[0].hired.pid == hands[0].hired.process.pid == hands[0].ask(os.getpid))
            for hand in hands:
                hand.stop()
                hand.hired.process.join()
                hand.close()
            print([hand.hired.process.exitcode for hand in hands])
    """),
        warnings="ignore",
    )
    out, err, code = program.finish()
    assert (err, code) == ("", 0)
    assert out.splitlines() == [str([("hello", "1", "whichever-3")] * 2), "True", "[0, 0]"]


def test_a_worker_of_multiprocessing_reports_its_initializer_too(start):
    program = start(
        script("""
        import multiprocessing
        hand = Hand(crew, context=multiprocessing.get_context("fork"), initializer=int, initargs=("x",))
        print(hand.is_gone(), hand.said[0][0])
        hand.hired.process.join()
        print(hand.hired.process.exitcode)
    """),
        warnings="ignore",
    )
    assert program.finish() == ("True failed\n1\n", "", 0)


def test_under_fork_one_worker_does_not_keep_another_ones_socket(start):
    program = start(
        script("""
        import multiprocessing
        context = multiprocessing.get_context("fork")
        first, second = Hand(crew, context=context), Hand(crew, context=context)
        first.ask(where), second.ask(where)
        first.begin(time.sleep, 1000)
        first.hired.close()
        first.hired.process.join(20)
        print(first.hired.process.exitcode, second.ask(int))
        second.stop()
        second.hired.process.join()
    """),
        warnings="ignore",
    )
    assert program.finish() == ("-9 0\n", "", 0)


def test_a_worker_that_died_is_described_by_an_error_that_pickles():
    import pickle

    died = WorkerDied("it died", 7, signal=9, peak_memory_bytes=5, stack="here")
    copy = pickle.loads(pickle.dumps(died))
    assert (str(copy), vars(copy)) == ("it died", vars(died))
