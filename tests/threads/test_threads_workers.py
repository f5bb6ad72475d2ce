"""Who runs the tasks of a thread pool: when threads start, what they are called, what they keep."""

import contextvars
import gc
import sys
import threading
import weakref
from concurrent import futures

import pytest
from threads_waiting import until

import whichever


def test_a_thread_that_is_free_is_used_before_another_starts(make_pool):
    pool = make_pool(8)
    for _ in range(20):
        pool.submit(abs, -1).result()
        assert until(lambda: pool.statistics().running == 0)
    assert pool.statistics().workers == 1


def test_tasks_that_wait_for_each_other_all_get_a_thread(make_pool):
    pool = make_pool(8)
    barrier = threading.Barrier(8)
    assert sorted(pool.map(lambda _: barrier.wait(20), range(8))) == list(range(8))
    assert pool.statistics().workers == 8


def test_no_more_threads_start_than_were_allowed(make_pool):
    pool = make_pool(3)
    gate, inside, most = threading.Event(), [], []

    def task():
        inside.append(1)
        most.append(len(inside))
        gate.wait(20)
        inside.pop()

    handed_in = [pool.submit(task) for _ in range(12)]
    assert until(lambda: len(inside) == 3)
    gate.set()
    futures.wait(handed_in)
    assert max(most) == 3
    assert pool.statistics().workers == 3


def test_tasks_of_one_thread_run_in_their_order(make_pool):
    pool, seen = make_pool(1), []
    futures.wait([pool.submit(seen.append, number) for number in range(500)])
    assert seen == list(range(500))


def test_threads_are_pythons_own_and_carry_the_prefix(make_pool):
    pool = make_pool(1, "reader")
    thread = pool.submit(threading.current_thread).result()
    assert thread in threading.enumerate()
    assert thread.name == "reader_0"
    assert make_pool(1).submit(lambda: threading.current_thread().name).result().startswith("ThreadPool-")


@pytest.mark.parametrize("daemon", [False, True])
def test_threads_that_a_task_starts_are_daemons_only_in_a_pool_of_daemons(make_pool, daemon):
    pool = make_pool(1, daemon=daemon)
    assert pool.submit(lambda: threading.Thread(target=abs, args=(1,)).daemon).result() is daemon


def test_a_threads_own_data_stays_from_task_to_task(make_pool):
    pool, own = make_pool(1), threading.local()
    pool.submit(setattr, own, "kept", 5).result()
    assert pool.submit(getattr, own, "kept").result() == 5


def test_the_initializer_runs_once_in_each_thread_before_its_tasks(make_pool):
    prepared = []
    pool = make_pool(3, "", lambda word: prepared.append((word, threading.get_ident())), ("ready",))
    barrier = threading.Barrier(3)
    idents = set(pool.map(lambda _: (barrier.wait(20), threading.get_ident())[1], range(3)))
    assert {ident for _, ident in prepared} == idents
    assert [word for word, _ in prepared] == ["ready"] * 3


def test_after_a_failed_initializer_all_that_waits_fails_and_nothing_is_taken(make_pool, caplog):
    gate = threading.Event()

    def fail():
        gate.wait(20)
        raise LookupError("not prepared")

    pool = make_pool(1, "", fail)
    handed_in = [pool.submit(abs, 1) for _ in range(5)]
    gate.set()
    for future in handed_in:
        with pytest.raises(futures.thread.BrokenThreadPool, match="initializer failed") as caught:
            future.result(20)
        assert "not prepared" in str(caught.value.__cause__)
    with pytest.raises(whichever.PoolBrokenError):
        pool.submit(abs, 1)
    assert "Exception in initializer" in caplog.text


def test_context_variables_travel_with_the_task_and_its_changes_stay_there(make_pool):
    pool, variable = make_pool(1), contextvars.ContextVar("variable", default=0)
    variable.set(1)
    future = pool.submit(variable.get)
    variable.set(2)
    assert future.result() == 1
    pool.submit(variable.set, 9).result()
    assert pool.submit(variable.get).result() == 2
    assert list(pool.map(lambda _: variable.get(), range(3))) == [2, 2, 2]


def test_without_context_a_task_runs_in_that_of_its_thread(make_pool):
    pool, variable = make_pool(1, copy_context=False), contextvars.ContextVar("variable", default=0)
    pool.submit(abs, 1).result()  # from 3.14 on a thread may begin with the context of whoever starts it
    variable.set(1)
    assert pool.submit(variable.get).result() == 0
    pool.submit(variable.set, 9).result()
    assert pool.submit(variable.get).result() == 9
    assert list(pool.map(lambda _: variable.get(), range(3))) == [9, 9, 9]


class Weighty:
    """Something whose end can be seen."""

    def touch(self, *_args, **_kwargs):
        """Do nothing."""

    def fail(self):
        raise ValueError(self)


def test_neither_arguments_nor_results_outlive_their_task(make_pool):
    pool = make_pool(1)
    owner, argument, result = Weighty(), Weighty(), [Weighty()]
    gone = [weakref.ref(thing) for thing in (owner, argument, result[0])]
    pool.submit(owner.touch, argument, key=argument).result()
    pool.submit(result.pop)  # nobody keeps the future
    del owner, argument
    assert until(lambda: (gc.collect(), all(thing() is None for thing in gone))[1])


def test_the_error_of_a_dropped_future_does_not_keep_the_task(make_pool):
    pool, owner = make_pool(1), Weighty()
    gone = weakref.ref(owner)
    assert isinstance(pool.submit(owner.fail).exception(), ValueError)
    del owner
    assert until(lambda: (gc.collect(), gone() is None)[1])


def test_a_traceback_begins_with_the_task(make_pool):
    def task():
        raise ValueError("mine")

    trace = make_pool(1).submit(task).exception().__traceback__
    assert trace.tb_frame.f_code is task.__code__
    assert trace.tb_next is None


def test_an_exit_in_a_task_ends_the_task_and_not_its_thread(make_pool):
    pool = make_pool(1)
    with pytest.raises(SystemExit):
        pool.submit(sys.exit, 3).result()
    assert pool.submit(abs, -1).result() == 1


def test_a_profiler_of_all_threads_sees_tasks(make_pool):
    seen = []

    def task():
        return 1

    threading.setprofile(lambda frame, event, _arg: seen.append((frame.f_code, event)))
    try:
        make_pool(1).submit(task).result()
    finally:
        threading.setprofile(None)
    assert (task.__code__, "call") in seen


def test_statistics_add_up(make_pool):
    pool, gate = make_pool(1), threading.Event()
    first = pool.submit(gate.wait, 20)
    assert until(first.running)
    second, third, fourth = pool.submit(abs, 1), pool.submit(abs, "x"), pool.submit(abs, 1)
    assert second.cancel()
    counts = pool.statistics()
    assert (counts.submitted, counts.waiting, counts.running, counts.workers) == (4, 3, 1, 1)
    gate.set()
    assert fourth.result() == 1
    assert isinstance(third.exception(), TypeError)
    assert until(lambda: pool.statistics().running == 0)
    counts = pool.statistics()
    assert (counts.returned, counts.raised, counts.cancelled, counts.waiting) == (2, 1, 1, 0)


def test_a_pool_that_nobody_holds_runs_what_was_handed_in(make_pool):
    seen = []
    pool = whichever.ThreadPool(2)
    for number in range(100):
        pool.submit(seen.append, number)
    thread = pool.submit(threading.current_thread).result()
    del pool
    assert until(lambda: len(seen) == 100)
    assert until(lambda: (gc.collect(), not thread.is_alive())[1])


def test_a_thread_that_does_not_start_is_done_without(make_pool, monkeypatch):
    def refuse(_self):
        raise RuntimeError("can't start new thread")

    pool = make_pool(4)
    gate = threading.Event()
    first = pool.submit(gate.wait, 20)
    assert until(first.running)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    second = pool.submit(abs, -2)
    gate.set()
    assert second.result(20) == 2
    with pytest.raises(RuntimeError, match="can't start new thread"):
        make_pool(1).submit(abs, 1)
