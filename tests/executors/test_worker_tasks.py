"""What a task finds in its worker: output, logging, context variables, and the end that the caller wants."""

import contextvars
import logging
import os
import signal
import sys
import time

import pytest

from whichever.executors._remote import contexts, logs
from whichever.executors._remote.hooks import TaskInterrupted

REQUEST = contextvars.ContextVar("REQUEST", default="none")
UNPICKLABLE = contextvars.ContextVar("UNPICKLABLE")


def test_what_a_task_prints_arrives_in_order(hire):
    hand = hire()

    def talk():
        import sys

        print("one")
        print("two", end="", file=sys.stderr)
        sys.stdout.write("three\n")
        sys.stdout.buffer.write("fünf".encode()[:2])
        sys.stdout.buffer.write("fünf".encode()[2:])

    hand.ask(talk)
    assert [entry[1:] for entry in hand.said] == [(1, "one\n"), (2, "two"), (1, "three\n"), (1, "fünf")]


def test_a_line_arrives_before_its_task_ends(hire):
    hand = hire()
    hand.begin(lambda: (print("begun"), __import__("time").sleep(1000)))
    assert hand.next_message() == ("say", 1, "begun\n")


def test_long_output_without_lines_is_sent_in_parts(hire):
    hand = hire()
    hand.ask(lambda: [print("x" * 1000, end="") for _ in range(20)] and None)
    assert len(hand.said) == 3
    assert hand.printed() == "x" * 20_000


def test_the_streams_are_ordinary_text_streams(hire):
    def look():
        import sys

        sys.stdout.reconfigure(line_buffering=True)
        out = sys.stdout
        return (
            out.isatty(),
            out.fileno(),
            sys.stderr.fileno(),
            out.encoding,
            out.writable(),
            out.name,
            sys.stdin.read(),
        )

    assert hire().ask(look) == (False, 1, 2, "utf-8", True, "<stdout>", "")


def test_threads_of_a_task_do_not_mix_their_lines(hire):
    hand = hire()

    def talk():
        import threading

        threads = [
            threading.Thread(target=lambda word=word: [print(word * 50) for _ in range(50)])
            for word in "abcd"
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    hand.ask(talk)
    characters = hand.printed()
    assert {word: characters.count(word) for word in "abcd"} == dict.fromkeys("abcd", 2500)
    assert characters.count("\n") == 200


def test_a_forked_copy_of_a_worker_does_not_speak_for_it(hire):
    hand = hire()

    def split():
        import os
        import sys

        if not os.fork():
            print("not over the ring")
            sys.exit(5)
        return os.waitstatus_to_exitcode(os.wait()[1])

    assert hand.ask(split) == 5
    assert hand.said == []
    assert hand.ask(int) == 0


class Records(logging.Handler):
    def __init__(self):
        super().__init__()
        self.records = []

    def emit(self, record):
        self.records.append(record)


@pytest.fixture
def logger():
    logger = logging.getLogger("tests.of.the.worker")
    handler = Records()
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    yield logger, handler
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)
    logger.propagate = True


def test_log_records_reach_the_callers_handlers_at_the_callers_levels(hire, logger):
    hand = hire(name="whichever-5")

    def note(value):
        import logging

        log = logging.getLogger("tests.of.the.worker")
        log.debug("too fine")
        log.info("one is %d", 1, extra={"value": value})
        print("between")
        try:
            {}["gone"]
        except KeyError:
            log.exception("failed")

    hand.ask(note, {"deep": [1]})
    assert [entry[0] for entry in hand.said] == ["log", "say", "log"]
    for kind, *rest in hand.said:
        if kind == "log":
            logs.handle_log(*rest)
    first, second = logger[1].records
    assert (first.getMessage(), first.levelname, first.value) == ("one is 1", "INFO", {"deep": [1]})
    assert (first.processName, first.process) == ("whichever-5", hand.ask(os.getpid))
    assert "KeyError: 'gone'" in second.exc_text


def test_a_log_record_arrives_whatever_is_attached_to_it(hire, logger):
    hand = hire()

    def note():
        import logging
        import sys
        import threading

        sys.modules["only_there"] = there = type(sys)("only_there")
        there.Kind = type("Kind", (), {"__module__": "only_there"})
        log = logging.getLogger("tests.of.the.worker")
        log.info("lock", extra={"value": threading.Lock()})
        log.info("kind", extra={"value": there.Kind()})

    hand.ask(note)
    for _, blob in hand.said:
        logs.handle_log(blob)
    first, second = logger[1].records
    assert (first.msg, "lock object" in first.value) == ("lock", True)
    assert (second.msg, hasattr(second, "value")) == ("kind", False)


def test_a_log_record_that_shared_memory_has_no_room_for_loses_its_middle(hire, logger):
    hand = hire()

    def note():
        import logging

        try:
            raise ValueError("z" * 50_000)
        except ValueError:
            logging.getLogger("tests.of.the.worker").exception("%s", "y" * 50_000)

    hand.ask(note)
    logs.handle_log(hand.said[0][1])
    (record,) = logger[1].records
    assert record.levelname == "ERROR"
    assert record.getMessage().startswith("yyy")
    assert "48000 characters cut" in record.getMessage()
    assert record.exc_text.startswith("Traceback")
    assert len(record.exc_text) < 3000


def test_a_record_below_the_callers_level_of_now_is_dropped(hire, logger):
    hand = hire()
    hand.ask(lambda: __import__("logging").getLogger("tests.of.the.worker").info("hello"))
    logger[0].setLevel(logging.ERROR)
    logs.handle_log(hand.said[0][1])
    assert logger[1].records == []


def run_with(**values):
    context = contextvars.copy_context()

    def dump():
        for name, value in values.items():
            globals()[name].set(value)
        return contexts.dump_context()

    return context.run(dump)


def test_an_empty_context_costs_nothing_to_send():
    assert contextvars.Context().run(contexts.dump_context) == b""


def test_context_variables_travel_and_stay_within_their_task(hire):
    hand = hire()

    def read_and_write():
        before = REQUEST.get()
        REQUEST.set("changed")
        return before

    blob = run_with(REQUEST="first")
    assert [hand.ask(read_and_write, context=blob) for _ in range(2)] == ["first", "first"]
    assert hand.ask(read_and_write, context=run_with(REQUEST=["second"])) == ["second"]
    assert hand.ask(read_and_write) == "none"


def test_a_changeable_value_is_fresh_for_each_task(hire):
    hand = hire()
    blob = run_with(REQUEST=[1])

    def grow():
        REQUEST.get().append(2)
        return REQUEST.get()

    assert [hand.ask(grow, context=blob) for _ in range(2)] == [[1, 2], [1, 2]]


def test_what_does_not_pickle_or_has_no_name_stays_behind(hire):
    nameless = contextvars.ContextVar("nameless")

    def dump():
        nameless.set(1)
        UNPICKLABLE.set(sys._getframe())
        REQUEST.set("there")
        return contexts.dump_context()

    blob = contextvars.copy_context().run(dump)
    assert hire().ask(lambda: (REQUEST.get(), UNPICKLABLE.get("left")), context=blob) == ("there", "left")


def test_context_variables_of_main_travel_too(hire, monkeypatch):
    main = sys.modules["__main__"]
    monkeypatch.setattr(main, "OF_MAIN", contextvars.ContextVar("OF_MAIN", default="default"), raising=False)
    hand = hire()
    variable = main.OF_MAIN
    blob = contextvars.copy_context().run(lambda: variable.set("there") and contexts.dump_context())

    def read():
        return variable.get()

    assert (hand.ask(read, context=blob), hand.ask(read)) == ("there", "default")
    assert hand.ask(lambda: variable) is variable


def test_what_the_initializer_sets_every_task_finds(hire):
    def start():
        REQUEST.set("initial")

    hand = hire(initializer=start)
    assert hand.ask(REQUEST.get) == "initial"
    assert hand.ask(REQUEST.get, context=run_with(REQUEST="own")) == "own"


def running(hand):
    """Wait until the task that prints has begun."""
    assert hand.next_message() == ("say", 1, "begun\n")


def test_an_interrupt_that_is_meant_ends_the_task_but_not_the_worker(hire):
    hand = hire()
    pid = hand.ask(os.getpid)

    def stubborn():
        import time

        print("begun")
        try:
            time.sleep(1000)
        except Exception:
            return "swallowed"

    hand.begin(stubborn)
    running(hand)
    hand.allow_interrupt()
    os.kill(pid, signal.SIGINT)
    with pytest.raises(TaskInterrupted):
        hand.result()
    assert hand.ask(os.getpid) == pid


def test_ctrl_c_at_the_terminal_leaves_the_task_alone(hire):
    hand = hire()
    pid = hand.ask(os.getpid)

    def slow():
        import signal

        print("begun")
        before = signal.getsignal(signal.SIGINT)
        while True:
            if signal.sigtimedwait({signal.SIGUSR1}, 20):
                return callable(before)

    hand.begin(lambda: __import__("signal").pthread_sigmask(0, {signal.SIGUSR1}) and None)
    hand.result()
    hand.begin(slow)
    running(hand)
    os.kill(pid, signal.SIGINT)
    os.kill(pid, signal.SIGUSR1)
    assert hand.result() is True


def test_programs_that_a_task_starts_die_of_ctrl_c(hire):
    def look():
        import subprocess

        child = subprocess.Popen(["sleep", "1000"])
        child.send_signal(2)
        return child.wait(20)

    assert hire().ask(look) == -signal.SIGINT


def test_exit_handlers_and_threads_of_tasks_end_before_the_worker(hire, tmp_path):
    file = tmp_path / "left"

    def prepare():
        import atexit
        import threading
        import time

        def late():
            time.sleep(0.1)
            with open(file, "a") as out:
                out.write("thread ")

        threading.Thread(target=late).start()
        atexit.register(lambda: open(file, "a").write("handler"))

    hand = hire()
    hand.ask(prepare)
    hand.stop()
    assert hand.is_gone()
    assert file.read_text() == "thread handler"


def test_random_numbers_differ_between_workers(hire):
    draws = [hand.ask(lambda: __import__("random").random()) for hand in (hire(), hire())]
    assert draws[0] != draws[1]


def test_a_spare_that_waits_too_long_leaves(hire, monkeypatch):
    import socket

    from whichever.executors._remote.configuring import receive_configuration, send_configuration

    ours, theirs = socket.socketpair()
    with ours, theirs:
        start = time.monotonic()
        assert receive_configuration(theirs, idle_seconds=0.05) is None
        assert time.monotonic() - start < 5
        with pytest.raises(BrokenPipeError):
            send_configuration(ours, {}, [0])
