"""Timers: never early, in order, and cheap to give up."""

import asyncio
import gc
import math
import random
import time
import weakref

import pytest


def test_a_timer_is_never_early(loop):
    early = []
    dice = random.Random(1)
    waiting = 300

    def due(when):
        nonlocal waiting
        waiting -= 1
        if loop.time() < when:
            early.append(when - loop.time())
        if not waiting:
            loop.stop()

    for _ in range(waiting):
        handle = loop.call_later(delay := dice.uniform(0, 0.05), lambda: None)
        handle.cancel()
        when = loop.time() + delay
        loop.call_at(when, due, when)
    loop.run_forever()
    # asyncio fires what is due within the clock's resolution.
    assert max(early, default=0) <= time.get_clock_info("monotonic").resolution


def test_the_loops_clock_is_the_monotonic_one(loop):
    before = time.monotonic()
    now = loop.time()
    assert before <= now <= time.monotonic()


def test_timers_run_in_the_order_of_their_times(loop):
    dice = random.Random(2)
    now = loop.time()
    times = [now + dice.uniform(0, 0.02) for _ in range(1000)]
    seen = []
    for when in times:
        loop.call_at(when, seen.append, when)
    loop.call_at(now + 0.03, loop.stop)
    loop.run_forever()
    assert seen == sorted(times)


@pytest.mark.parametrize("delay", [0, -1, -0.0, 1e-9])
def test_a_delay_of_nothing_runs_in_one_of_the_next_turns(loop, run, delay):
    async def main():
        ran = asyncio.Event()
        loop.call_later(delay, ran.set)
        assert not ran.is_set()
        await asyncio.wait_for(ran.wait(), 5)

    run(main())


def test_a_cancelled_timer_does_not_run_and_lets_go_of_its_arguments(loop):
    class Thing:
        pass

    thing, seen = Thing(), []
    handle = loop.call_later(0.001, seen.append, thing)
    watched = weakref.ref(thing)
    del thing
    handle.cancel()
    gc.collect()
    assert watched() is None
    loop.call_later(0.01, loop.stop)
    loop.run_forever()
    assert seen == []
    handle.cancel()
    assert handle.cancelled()


def test_a_timer_knows_its_time(loop):
    handle = loop.call_at(loop.time() + 100.25, print)
    assert math.isclose(handle.when(), loop.time() + 100.25, abs_tol=1)
    later = loop.call_at(handle.when() + 1, print)
    assert handle < later
    assert later > handle
    assert handle == handle  # noqa: PLR0124 - that is the question
    assert handle != later
    assert hash(handle) == hash(handle.when())
    handle.cancel()
    later.cancel()


def test_a_timer_may_be_cancelled_by_another_that_is_due_at_the_same_time(loop):
    seen = []
    when = loop.time() + 0.01
    loop.call_at(when, lambda: victim.cancel())
    victim = loop.call_at(when + 1e-6, seen.append, 1)
    loop.call_at(when + 0.01, loop.stop)
    loop.run_forever()
    assert seen == []


def test_a_hundred_thousand_cancelled_timers_leave_the_rest_in_order(loop):
    seen = []
    kept = []
    now = loop.time()
    for number in range(100_000):
        handle = loop.call_at(now + 0.2 + (number * 7919 % 1000) * 1e-5, seen.append, number)
        if number % 1000:
            handle.cancel()
        else:
            kept.append(number)
    loop.call_at(now + 0.3, loop.stop)
    loop.run_forever()
    assert sorted(seen) == kept


def test_a_sleeper_waits_without_using_the_cpu(loop, run):
    async def main():
        before = time.process_time()
        await asyncio.sleep(0.3)
        return time.process_time() - before

    assert run(main()) < 0.15


def test_sleeping_takes_its_time_and_not_much_less(loop, run):
    async def main():
        begin = time.monotonic()
        await asyncio.sleep(0.0123)
        return time.monotonic() - begin

    assert run(main()) >= 0.0123


@pytest.mark.parametrize("delay", [math.inf, 1e12])
def test_a_timer_in_the_far_future_does_not_end_the_world(loop, delay):
    handle = loop.call_later(delay, print)
    loop.call_later(0.01, loop.stop)
    loop.run_forever()
    handle.cancel()


def test_a_timer_may_not_be_given_to_a_closed_loop(new_loop):
    loop = new_loop()
    loop.close()
    for call in (
        lambda: loop.call_later(1, print),
        lambda: loop.call_at(1, print),
        lambda: loop.call_soon(print),
        lambda: loop.call_soon_threadsafe(print),
    ):
        with pytest.raises(RuntimeError, match="closed"):
            call()
