"""The auto pool's parts, each by itself."""

import itertools
import subprocess
import sys
import threading
import time
from pathlib import Path

import auto_tasks as tasks
import pytest

import whichever
from whichever import _core
from whichever.auto._course import Course
from whichever.auto._leg import Leg
from whichever.auto._source import Source

with_gil = pytest.mark.skipif(
    not getattr(sys, "_is_gil_enabled", lambda: True)(), reason="without a GIL nothing stands still to be cut"
)


def until(condition, seconds=10.0):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.002)
    return condition()


@with_gil
def test_a_loop_that_is_cut_short_ends_with_the_item_at_hand():
    items = list(range(100))
    iterator = iter(items)
    seen, rest = [], []
    for item in iterator:
        seen.append(item)
        if item == 41:
            rest = _core.cut_short(items, iterator)
    assert seen == list(range(42))
    assert rest == list(range(42, 100))
    assert _core.cut_short(items, iterator) == []


@with_gil
def test_a_loop_that_waits_is_cut_from_another_thread_and_loses_nothing():
    items = list(range(50))
    iterator, seen, begun = iter(items), [], threading.Event()

    def run(item):
        seen.append(item)
        begun.set()
        time.sleep(0.01)

    loop = threading.Thread(target=lambda: list(map(run, iterator)))
    loop.start()
    begun.wait()
    rest = _core.cut_short(items, iterator)
    loop.join()
    assert seen + rest == list(range(50))
    assert len(seen) < 50


def test_a_pilot_hears_of_change_only_when_there_is_some():
    pilot = _core.Pilot()
    assert not any(pilot.observe(100, 0.05, 0.05, 0.0) for _ in range(50))
    assert any(pilot.observe(100, 0.05, 0.0, 0.0) for _ in range(3))


def test_a_scout_calls_when_the_program_waits_and_not_when_it_computes():
    calls = []
    scout = _core.Scout(lambda: not calls.append(time.monotonic()))
    scout.arm(here=True)
    assert until(lambda: len(calls) > 3)
    scout.disarm()
    scout.close(wait=5.0)
    count = len(calls)
    assert count > 3
    with pytest.raises(RuntimeError, match="closed"):
        scout.arm()
    assert len(calls) == count


def test_a_scout_with_nothing_to_do_comes_less_often():
    def calls_in(seconds, *, useful):
        calls = []
        scout = _core.Scout(lambda: calls.append(1) or useful)
        scout.arm()
        time.sleep(seconds)
        scout.close(wait=5.0)
        return len(calls)

    assert calls_in(0.3, useful=False) < 0.3 / 0.004
    assert until(lambda: calls_in(0.3, useful=True) > 0.3 / 0.004)


def test_a_program_that_queues_for_a_core_does_not_wait():
    """It shares a core with others, and native tasks hold no GIL: all that tells them from a nap is their state."""
    program = """
import hashlib, os, subprocess, sys, time
from whichever import _core
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(4)]
time.sleep(0.2)
calls = []
scout = _core.Scout(lambda: calls.append(1) or True)
data = bytes(1 << 24)
scout.arm(here=True)
for _ in range(20):
    hashlib.sha256(data)
computing = len(calls)
time.sleep(0.3)
scout.close(5.0)
for other in others:
    other.kill()
print(computing, len(calls))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    computing, calls = map(int, done.stdout.split())
    assert computing == 0 < calls


def test_a_scout_that_is_dropped_leaves_no_thread():
    tasks = Path("/proc/self/task")
    for _ in range(20):
        before = set(tasks.iterdir())
        scout = _core.Scout(bool)
        scout.arm()
        assert set(tasks.iterdir()) - before
        del scout
        assert until(lambda before=before: set(tasks.iterdir()) <= before)


def source(*iterables, eager=True, ahead=None, scout=False):
    return Source(iterables, eager=eager, ahead=ahead, is_scout=lambda: scout)


def test_items_that_are_given_back_come_again_in_order():
    items = source(range(10))
    first = items.take(6)
    items.give_back(first[2:])
    assert items.left() == 8
    assert items.take(100) == list(range(2, 10))
    assert items.left() == 0
    assert not items.has_more()


def test_the_scout_never_advances_a_generator():
    generated = source(iter(range(1000)), eager=False, scout=True)
    ready = generated.take(1000)
    assert ready == list(range(len(ready)))
    assert len(ready) <= 64
    assert generated.take(5) == []


def test_several_iterables_are_taken_together():
    items = source([1, 2, 3], "ab")
    assert items.star
    assert items.left() == 2
    assert items.take(5) == [(1, "a"), (2, "b")]


@pytest.fixture
def threads():
    with whichever.ThreadPool(2) as pool:
        yield pool


def lazily(pool, fn, items, **options):
    plan = {"star": False, "eager": False, "ahead": 0, "ordered": True, "timeout": None} | options
    return pool.map_items(fn, items, **plan)


@pytest.mark.parametrize("ordered", [True, False])
def test_what_threads_have_not_begun_is_taken_back(threads, ordered):
    gate, ran = threading.Event(), []

    def run(item):
        ran.append(item)
        gate.wait(10)
        return item

    leg = Leg("threads", 2, threads)
    items = list(range(100))
    leg.hand_in(items)
    leg.results = lazily(threads, run, iter(items), first=512, ordered=ordered)
    assert until(lambda: len(ran) == 2)
    back = leg.recall()
    gate.set()
    results = list(leg.results)
    assert sorted(results) == sorted(ran)
    assert back == items[len(results) :]
    assert until(lambda: threads.statistics().waiting == 0)
    assert sorted(ran) == sorted(results)


def test_recalling_beside_running_threads_runs_every_task_once_here_or_there(threads):
    for count in range(60):
        ran = []
        leg = Leg("threads", 2, threads)
        items = list(range(200))
        leg.hand_in(items)
        leg.results = lazily(threads, lambda item, ran=ran: ran.append(item) or item, iter(items), first=512)
        for _ in itertools.islice(leg.results, count):
            pass
        back = leg.recall()
        rest = list(leg.results)
        assert back == items[count + len(rest) :]
        assert until(lambda: threads.statistics().waiting == 0)
        assert sorted(ran) == items[: count + len(rest)]


def test_more_workers_come_for_tasks_that_wait():
    gate = threading.Event()
    with whichever.ThreadPool(1) as pool:
        futures = [pool.submit(gate.wait, 10) for _ in range(8)]
        assert until(lambda: pool.statistics().running == 1)
        pool.raise_workers(4)
        assert until(lambda: pool.statistics().running == 4)
        pool.raise_workers(2)  # it only rises
        assert pool.statistics().workers == 4
        gate.set()
        assert all(future.result() for future in futures)


def test_a_pool_that_governs_itself_has_fewer_threads_at_work_where_they_wait_for_one_another():
    server, opens, done = threading.Semaphore(4), threading.Event(), threading.Event()

    def ask():
        opens.wait(20)
        with server:
            done.wait(0.002)

    with whichever.ThreadPool(2) as pool:
        pool.govern(64)

        def most(wait):
            while pool.statistics().waiting < 256:
                pool.submit(ask)
            if wait:
                pool.program_waits()
            return pool.statistics().workers_most

        assert until(lambda: most(wait=True) == 64 and pool.statistics().running == 64)
        opens.set()
        assert until(lambda: most(wait=False) < 64)
        assert until(lambda: pool.statistics().running < 64 or most(wait=False) == 64)
        done.set()
    counts = pool.statistics()
    assert counts.returned == counts.submitted


def test_a_pool_that_governs_itself_forgets_what_it_found_but_not_its_threads():
    with whichever.ThreadPool(2) as pool:
        pool.govern(64)
        gate = threading.Event()
        futures = [pool.submit(gate.wait, 10) for _ in range(100)]
        assert pool.statistics().workers_most == 2
        assert until(lambda: not pool.program_waits() and pool.statistics().running == 64)
        pool.govern_anew()
        pool.raise_workers(32)  # a forecast that they are more than
        assert pool.statistics().workers_most == 64
        gate.set()
        assert all(future.result() for future in futures)


def test_threads_that_wait_for_a_task_behind_them_get_company(make_pool):
    pool, gate = make_pool(), threading.Event()
    behind = [pool.submit(gate.wait, 20) for _ in range(100)]
    pool.submit(gate.set)
    assert all(future.result(20) for future in behind)


def test_all_items_of_a_lazy_map_are_handed_in_when_asked(threads):
    items = iter(range(5000))
    results = lazily(threads, abs, items)
    results.hand_in_all()
    assert next(items, None) is None
    assert list(results) == list(range(5000))


def test_a_lazy_map_that_is_left_runs_what_was_handed_in_and_warns_of_nothing(threads):
    ran = []
    results = lazily(threads, ran.append, iter(range(5000)))
    results.hand_in_all()
    results.leave()
    del results
    assert until(lambda: len(ran) == 5000)


def test_threads_that_begin_to_help_take_no_item_before_one_that_is_run_here(monkeypatch, make_pool):
    ask, asked = Course._at_most, []

    def help_out(course):
        with course._lock:
            assert course._looks_here
            assert course._help()

    def interrupted(course, *args):
        # The scout has just seen that the program waits, and helps as the reader's thread is about to take an item.
        asked.append(course)
        if len(asked) == 3:
            helper = threading.Thread(target=help_out, args=(course,))
            helper.start()
            helper.join(20)
        return ask(course, *args)

    monkeypatch.setattr(Course, "_at_most", interrupted)
    pool = make_pool(engines={"threads", "serial"})
    assert list(pool.map(tasks.compute, range(2000, 2060), buffersize=5)) == [
        tasks.compute(n) for n in range(2000, 2060)
    ]
    assert len(asked) >= 3
    assert [leg.engine for leg in pool.history()] == ["threads"]
