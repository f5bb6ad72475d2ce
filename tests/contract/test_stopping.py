"""How a run ends early: deadlines, Ctrl-C, closing while busy."""

import itertools
import os
import signal
import threading
import time

import contract_tasks as tasks
import pytest

from whichever.executors import open_engine


@pytest.mark.parametrize("chunksize", [1, 10])
def test_after_the_deadline_no_further_item_is_started(engine, task, chunksize):
    taken = []

    def long():
        for item in itertools.count():
            taken.append(item)
            yield 0.01

    engine.run(task(tasks.nap), [0.0])  # its workers are there: on a busy machine that takes its time
    start = time.monotonic()
    outcomes = engine.run(task(tasks.nap), long(), chunksize=chunksize, deadline=start + 0.5)
    assert time.monotonic() - start < 2.0
    assert 0 < len(outcomes) <= len(taken) < 5000
    assert [outcome.index for outcome in outcomes] == sorted({outcome.index for outcome in outcomes})
    assert all(outcome.value == 0.01 for outcome in outcomes)


def test_a_task_that_was_started_before_the_deadline_ends(engine, task):
    engine.run(task(tasks.nap), [0.0])
    (outcome,) = engine.run(task(tasks.nap), [0.7], deadline=time.monotonic() + 0.4)
    assert outcome.value == 0.7


def test_a_deadline_in_the_past_starts_nothing(engine, task):
    assert engine.run(task(tasks.square), [1, 2, 3], deadline=time.monotonic() - 1) == []
    assert engine.run(task(tasks.square), [3])[0].value == 9


def test_items_are_taken_only_as_far_as_needed(engine, task):
    taken = []

    def counted():
        for item in range(100_000):
            taken.append(item)
            yield 0.005

    engine.run(task(tasks.nap), counted(), deadline=time.monotonic() + 0.05)
    assert len(taken) < 1000


def test_a_task_that_takes_long_keeps_later_ones_from_nothing(engine, task, name, tmp_path):
    if name in ("serial", "async"):
        pytest.skip("runs blocking tasks one after the other")
    path = str(tmp_path / "made")
    items = [(path, None), *[(path, False)] * 60, (path, True)]
    outcomes = engine.run(task(tasks.wait_for_another), items)
    assert [outcome.value for outcome in outcomes] == [True] * 62


def interrupt_after(seconds):
    timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    return timer


@pytest.fixture
def _heard_ctrl_c():
    """Hear Ctrl-C where a shell that started us in the background has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_heard_ctrl_c")
def test_ctrl_c_in_a_run_leaves_at_once_and_leaves_nothing(name, task):
    with open_engine(name, 2) as engine:
        timer = interrupt_after(0.2)
        start = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            engine.run(task(tasks.spin_for_ever), [1, 2, 3])
        assert time.monotonic() - start < 0.2 + 0.5
        timer.join()


def test_closing_with_kill_after_an_error_in_the_with_block_is_quick(name, task):
    start = time.monotonic()
    with pytest.raises(ZeroDivisionError), open_engine(name, 2) as engine:
        engine.run(task(tasks.square), [1])
        raise ZeroDivisionError
    assert time.monotonic() - start < 2.0
