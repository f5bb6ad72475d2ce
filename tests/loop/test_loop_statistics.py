"""What a loop tells of itself, and what it says of callbacks that keep it waiting."""

import asyncio
import functools
import logging
import math
import os
import socket
import subprocess
import sys
import threading
import time

import pytest

import whichever

STILL = "The event loop is being kept waiting, for "
HAS_GIL = getattr(sys, "_is_gil_enabled", lambda: True)()


@pytest.fixture
def kind():
    """Only our loop has statistics."""
    return "whichever"


@pytest.fixture(autouse=True)
def nothing_told_before(monkeypatch):
    """Forget which places were warned of while they ran."""
    monkeypatch.setattr("whichever.loop._slow._told_stuck", set())


@pytest.fixture
def said(caplog):
    """Return what was logged so far."""
    caplog.set_level(logging.WARNING, logger="asyncio")
    return lambda: [record.getMessage() for record in caplog.records if record.name == "asyncio"]


@pytest.fixture
def warned(said):
    """Return the warnings of callbacks that were over; on a busy machine each may be warned of before."""
    return lambda: [message for message in said() if not message.startswith(STILL)]


@pytest.fixture
def warned_while(said):
    """Return the warnings of callbacks that were running."""
    return lambda: [message for message in said() if message.startswith(STILL)]


def sleep_here(seconds=0.3):
    """Do what must not be done in an event loop."""
    time.sleep(seconds)


def receive_here():
    """Wait for bytes that come in a while."""
    here, there = socket.socketpair()
    with here, there:
        sender = threading.Timer(0.3, there.send, (b"x",))
        sender.start()
        assert here.recv(1) == b"x"
        sender.join()


def wait_here():
    """Wait for a lock that nobody gives back."""
    lock = threading.Lock()
    with lock:
        assert not lock.acquire(timeout=0.3)


def compute_here(seconds=0.4):
    """Use a core in plain Python."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def call_and_stop(loop, function):
    """Run one callback, with the loop asleep before it."""
    loop.call_later(0.01, function)
    loop.call_later(0.02, loop.stop)
    loop.run_forever()


def test_a_new_loop_has_done_nothing(loop):
    seen = loop.statistics()
    assert (seen.turns, seen.callbacks, seen.ready, seen.timers, seen.slow) == (0, 0, 0, 0, ())
    assert seen.running_seconds == seen.busy_share == seen.recent_busy_share == 0


def test_turns_callbacks_and_what_is_ready_are_counted(loop):
    seen = []
    loop.call_soon(lambda: seen.append(loop.statistics()))
    for _ in range(3):
        loop.call_soon(int)
    timer = loop.call_later(60, int)
    loop.call_soon(loop.stop)
    loop.call_soon(seen.append, None)
    assert loop.statistics().ready == 6
    loop.run_forever()
    during, after = seen[0], loop.statistics()
    assert (during.ready, during.most_ready, during.timers) == (5, 6, 1)
    assert (after.turns, after.callbacks, after.most_ready, after.ready) == (1, 6, 6, 0)
    timer.cancel()
    assert loop.statistics().timers == 0


def test_late_timers_are_counted(loop):
    begin = loop.time()
    loop.call_at(begin - 2, int)
    loop.call_at(begin - 1, loop.stop)
    loop.run_forever()
    seen = loop.statistics()
    assert seen.timers_fired == 2
    assert seen.longest_timer_lag_seconds >= 2
    assert 1.5 <= seen.timer_lag_seconds <= seen.longest_timer_lag_seconds


def test_a_cancelled_timer_is_not_late(loop):
    loop.call_at(loop.time() - 5, int).cancel()
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert loop.statistics().timers_fired == 0


def test_busy_time_is_what_the_loop_did_not_sleep(loop):
    call_and_stop(loop, functools.partial(sleep_here, 0.05))
    loop.call_later(0.05, loop.stop)
    loop.run_forever()
    seen = loop.statistics()
    assert seen.running_seconds >= 0.1
    assert 0.05 / seen.running_seconds <= seen.busy_share < 1
    assert seen.longest_lag_seconds >= 0.05
    assert 0 < seen.lag_seconds < seen.longest_lag_seconds
    assert seen.recent_busy_share == pytest.approx(seen.busy_share)


def test_another_thread_may_ask_while_the_loop_sleeps(loop):
    seen = []

    def ask():
        seen.append(loop.statistics())
        loop.call_soon_threadsafe(loop.stop)

    threads = [threading.Thread(target=ask)]
    loop.call_soon(threads[0].start)
    loop.run_forever()
    threads[0].join()
    assert seen[0].turns == 1


def test_a_closed_loop_still_tells(loop):
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()
    assert loop.statistics().turns == 1


@pytest.mark.parametrize(
    ("function", "wait", "words"),
    [
        (sleep_here, "sleep", "await asyncio.sleep instead"),
        (receive_here, "network", "on a socket: await it or run it in a pool"),
        (wait_here, "lock", "for a lock: await it or run it in a pool"),
    ],
)
def test_a_callback_that_waits_is_named_with_what_it_waited_for(loop, warned, function, wait, words):
    call_and_stop(loop, function)
    (slow,) = loop.statistics().slow
    assert (slow.callback, slow.state, slow.kind, slow.times) == (function.__name__, "blocked", wait, 1)
    assert 0.1 <= slow.seconds == slow.longest_seconds
    (message,) = warned()
    assert message.startswith(f"The event loop was kept waiting: `{function.__name__}`")
    assert message.endswith(words)
    if HAS_GIL:
        assert slow.place.startswith(f"{function.__name__} (test_loop_statistics.py:")


def test_a_callback_that_computes_is_named_as_holding_the_gil(loop, warned):
    for _ in range(10):  # on a busy machine it may have to queue for a core instead
        call_and_stop(loop, compute_here)
        if any(slow.state != "queued" for slow in loop.statistics().slow):
            break
    slow = next(slow for slow in loop.statistics().slow if slow.state != "queued")
    assert (slow.callback, slow.state) == ("compute_here", "held" if HAS_GIL else "released")
    assert warned()[-1].endswith("run it in a process pool" if HAS_GIL else "run it in a thread pool")


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="nothing can be kept on one core here")
def test_a_callback_that_has_no_core_is_not_said_to_compute(loop, warned):
    call_and_stop(loop, int)  # the watchdog has begun, and stays where it may run
    allowed = os.sched_getaffinity(0)
    others = []
    os.sched_setaffinity(0, {min(allowed)})
    try:
        others += [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(6)]
        call_and_stop(loop, functools.partial(compute_here, 0.2))
    finally:
        for other in others:
            other.kill()
            other.wait()
        os.sched_setaffinity(0, allowed)
    slow = loop.statistics().slow[0]
    assert slow.state == "queued"
    assert warned()[-1].endswith("too much else runs on this machine")


def test_a_step_of_a_task_has_the_name_of_its_coroutine(loop, warned):
    async def serve():
        await asyncio.sleep(0.01)
        sleep_here()

    # By itself: in `asyncio.wait_for` it would be a part of that coroutine.
    loop.run_until_complete(serve())
    (slow,) = loop.statistics().slow
    assert slow.callback.endswith("serve")
    (message,) = warned()
    if HAS_GIL:
        assert slow.place.startswith("sleep_here ")
        assert f"called by `{slow.callback}`" in message


def test_a_protocol_that_waits_is_told_of(loop, run):
    class Waits(asyncio.Protocol):
        def data_received(self, data):
            del data
            sleep_here()
            heard.set()

    async def main():
        here, there = socket.socketpair()
        with there:
            transport, _ = await loop.connect_accepted_socket(Waits, here)
            there.send(b"x")
            await heard.wait()
            transport.close()
            await asyncio.sleep(0)

    heard = asyncio.Event()
    run(main())
    (slow,) = loop.statistics().slow
    assert (slow.state, slow.kind) == ("blocked", "sleep")
    if HAS_GIL:
        assert slow.callback.endswith("Waits.data_received")


def test_one_place_is_warned_of_once_and_counted_each_time(loop, warned):
    for _ in range(3):
        call_and_stop(loop, sleep_here)
    (slow,) = loop.statistics().slow
    assert slow.times == 3
    assert 0.1 <= slow.longest_seconds <= slow.seconds / 2
    assert len(warned()) == 1


def test_a_callback_that_does_not_end_is_warned_of_once_while_it_runs(loop, warned_while):
    def never():
        end = time.monotonic() + (0.5 if during else 20)
        while (during or not warned_while()) and time.monotonic() < end:
            time.sleep(0.001)
        during.append(warned_while())

    during = []
    loop.slow_callback_duration = 0.03
    for _ in range(2):
        call_and_stop(loop, never)
    (message,) = during[0]
    assert during[1] == [message]
    if HAS_GIL:
        assert "never` is at test_" in message
        assert "sleeps\n  File" in message
        assert "in never\n" in message or "<locals>.never\n" in message


def test_a_loop_that_keeps_nobody_waiting_warns_of_nothing(loop, warned):
    def again():
        if loop.time() < deadline:
            loop.call_soon(again)
        else:
            loop.call_later(0.3, loop.stop)

    # Long turns and long sleeps, of callbacks that are short even on a machine that is busy.
    loop.slow_callback_duration = 0.5
    deadline = loop.time() + 1
    loop.call_soon(again)
    loop.run_forever()
    assert loop.statistics().slow == ()
    assert warned() == []


def test_who_wants_no_warnings_gets_none(loop, warned):
    loop.slow_callback_duration = math.inf
    call_and_stop(loop, sleep_here)
    assert loop.statistics().slow == ()
    assert warned() == []


def test_debugging_does_not_warn_twice(loop, warned):
    loop.set_debug(True)
    call_and_stop(loop, sleep_here)
    (message,) = warned()
    assert message.startswith("Executing ")
    assert len(loop.statistics().slow) == 1


def test_each_loop_tells_of_its_own_thread():
    def live(function, answers):
        loop = whichever.new_event_loop()
        try:
            call_and_stop(loop, function)
            answers[function] = [slow.kind for slow in loop.statistics().slow]
        finally:
            loop.close()

    answers = {}
    threads = [threading.Thread(target=live, args=(work, answers)) for work in (sleep_here, wait_here, int)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers[sleep_here] == ["sleep"]
    assert answers[wait_here] == ["lock"]
    assert answers[int] == []


def test_a_loop_that_has_slept_for_long_is_watched_again(loop):
    # Longer than the watchdog looks at sleeping loops.
    loop.call_later(1.5, sleep_here)
    loop.call_later(1.6, loop.stop)
    loop.run_forever()
    (slow,) = loop.statistics().slow
    assert slow.kind == "sleep"


def test_a_forked_child_is_watched_too():
    program = """
import os, time, whichever
def block():
    time.sleep(0.3)
def live():
    loop = whichever.new_event_loop()
    loop.call_later(0.01, block)
    loop.call_later(0.02, loop.stop)
    loop.run_forever()
    print([slow.callback for slow in loop.statistics().slow], flush=True)
    loop.close()
live()
child = os.fork()
if not child:
    live()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stdout == "['block']\n" * 2, done.stderr


def test_a_handle_whose_stack_nobody_read_has_its_callbacks_name(loop):
    loop._callback_blocked(functools.partial(sleep_here), None, 0.2, ("unknown", None, None))
    loop._callback_blocked(None, None, 0.3, ("waiting", None, None))
    waited, slept = loop.statistics().slow
    assert (slept.callback, slept.place, slept.state) == ("sleep_here", "", "unknown")
    assert (waited.callback, waited.state) == ("the loop", "waiting")


def test_only_the_costliest_are_kept(loop, warned):
    for number in range(300):
        loop._callback_blocked(None, (f"f{number}", f"f{number} (x.py:1)"), number, ("held", None, None))
    seen = loop.statistics().slow
    assert len(seen) == 100
    assert seen[0].callback == "f299"
    assert len(warned()) == 100
