"""What a meter promises to its caller, whatever the task does."""

import asyncio
import gc
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from whichever import _core
from whichever.meter import Meter

WITHIN = 30
HAS_GIL = getattr(sys, "_is_gil_enabled", lambda: True)()
LINUX = sys.platform == "linux"


def spin(cpu_seconds):
    end = time.thread_time() + cpu_seconds
    while time.thread_time() < end:
        pass


def samplers():
    comms = Path("/proc/self/task").glob("*/comm")
    return [comm.parent for comm in comms if comm.read_text().strip() == "whichever-probe"]


def new_samplers(before, count=1):
    """Wait until there are so many samplers more: a thread names itself after it has started."""
    deadline = time.monotonic() + WITHIN
    while len(new := set(samplers()) - set(before)) != count and time.monotonic() < deadline:
        pass
    return new


def total(ledger):
    return ledger.held + ledger.released + ledger.waiting + ledger.queued + sum(ledger.blocked.values())


def test_a_task_returns_what_its_function_returns():
    with Meter() as meter:
        assert meter.call(divmod, 7, 2) == (3, 1)
        assert meter.call(dict) == {}


def test_every_task_has_its_own_wall_time():
    with Meter() as meter:
        meter.call(time.sleep, 0.02)
        meter.call(int)
    slept, quick = meter.task_seconds
    assert 0.02 <= slept < WITHIN
    assert quick < slept
    assert meter.ledger().first == slept


def test_the_parts_add_up_to_wall_time():
    with Meter() as meter:
        for _ in range(3):
            meter.call(spin, 0.02)
            meter.call(time.sleep, 0.01)
    ledger = meter.ledger()
    assert ledger.tasks == 6
    assert total(ledger) == pytest.approx(ledger.wall, rel=1e-9)
    assert ledger.wall == pytest.approx(sum(meter.task_seconds) / 6, rel=1e-9)
    assert set(ledger.standard_error) >= {"held", "released", "waiting", "queued"}


def test_a_task_that_raises_passes_through_and_is_not_counted():
    with Meter() as meter:
        meter.call(spin, 0.01)
        with pytest.raises(ZeroDivisionError):
            meter.call(lambda: (spin(0.2), 1 / 0))
        meter.call(spin, 0.01)
    ledger = meter.ledger()
    assert ledger.tasks == 2
    assert ledger.cpu < 0.1
    assert ledger.samples <= ledger.rate_hz * ledger.wall * ledger.tasks * 3 + 30


def test_a_task_that_exits_passes_through_too():
    with pytest.raises(SystemExit), Meter() as meter:
        meter.call(sys.exit, 3)
    assert meter.ledger().tasks == 0


def test_many_tiny_tasks_are_all_counted():
    with Meter() as meter:
        for _ in range(5_000):
            meter.call(int)
    ledger = meter.ledger()
    assert ledger.tasks == len(meter.task_seconds) == 5_000
    assert total(ledger) == pytest.approx(ledger.wall, rel=1e-9)
    assert 0 < ledger.cpu <= ledger.wall


def test_a_task_may_be_more_than_one_call():
    async def nap():
        await asyncio.sleep(0.02)

    with Meter() as meter:
        meter.begin()
        asyncio.run(nap())
        meter.end()
        meter.begin()
        meter.end(returned=False)
    assert len(meter.task_seconds) == 1
    assert meter.task_seconds[0] >= 0.02


def test_begin_and_end_take_turns():
    with Meter() as meter:
        with pytest.raises(RuntimeError, match="no task of this meter"):
            meter.end()
        meter.begin()
        with pytest.raises(RuntimeError, match="running already"):
            meter.begin()
        with pytest.raises(RuntimeError, match="running already"):
            meter.call(int)
        meter.end()
    assert meter.ledger().tasks == 1


def test_a_meter_that_was_not_entered_says_so():
    meter = Meter()
    for use in (lambda: meter.call(int), meter.begin, meter.ledger, meter.timeline, meter.blocked_now):
        with pytest.raises(RuntimeError, match="enter the meter first"):
            use()
    assert meter.task_seconds == []


def test_a_meter_is_entered_once():
    with Meter() as meter, pytest.raises(RuntimeError, match="entered once"):
        meter.start()


def test_a_rate_that_makes_no_sense_is_refused():
    for rate in (0, -1, float("nan")):
        with pytest.raises(ValueError, match="rate_hz"):
            Meter(rate_hz=rate)


def test_another_thread_cannot_run_tasks_but_may_look():
    seen = []

    def other(meter):
        try:
            meter.call(int)
        except RuntimeError as error:
            seen.append(str(error))
        seen.append(meter.ledger().tasks)

    with Meter() as meter:
        meter.call(spin, 0.001)
        thread = threading.Thread(target=other, args=(meter,))
        thread.start()
        thread.join(WITHIN)
    assert "belongs to the thread" in seen[0]
    assert seen[1] == 1


def test_meters_nest():
    with Meter() as outer:

        def task():
            with Meter() as inner:
                inner.call(spin, 0.03)
            return inner.ledger()

        inner = outer.call(task)
    assert inner.tasks == outer.ledger().tasks == 1
    assert inner.wall <= outer.ledger().wall


def test_meters_in_several_threads_do_not_disturb_each_other():
    ledgers = []

    def work():
        with Meter() as meter:
            for _ in range(3):
                meter.call(spin, 0.01)
        ledgers.append(meter.ledger())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WITHIN)
    assert [ledger.tasks for ledger in ledgers] == [3] * 4
    for ledger in ledgers:
        assert ledger.cpu == pytest.approx(0.01, rel=0.3)
        assert total(ledger) == pytest.approx(ledger.wall, rel=1e-9)


@pytest.mark.skipif(not LINUX, reason="threads are listed in /proc")
def test_the_sampler_ends_with_the_meter():
    before = samplers()
    with Meter() as meter:
        meter.call(spin, 0.005)
        assert len(new_samplers(before)) == 1
    assert not new_samplers(before, 0)
    with pytest.raises(KeyError), Meter() as meter:
        meter.call({}.__getitem__, "nothing")
    assert not new_samplers(before, 0)
    forgotten = Meter()
    forgotten.start()
    assert len(new_samplers(before)) == 1
    del forgotten
    gc.collect()
    assert not new_samplers(before, 0)


@pytest.mark.skipif(not LINUX, reason="signal masks are read in /proc")
def test_the_sampler_never_handles_a_signal():
    before = samplers()
    with Meter():
        (sampler,) = new_samplers(before)
        status = dict(line.split(":", 1) for line in (sampler / "status").read_text().splitlines())
    blocked = int(status["SigBlk"], 16)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM, signal.SIGCHLD):
        assert blocked >> (number - 1) & 1
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("clocks_only", [False, True])
def test_a_task_may_fork_and_the_child_goes_on(clocks_only):
    def task():
        child = os.fork()
        if child == 0:
            # What fails here must not run the parent's tests again: the child leaves at once, whatever happens.
            code = 1
            try:
                signal.alarm(WITHIN)
                with pytest.raises(KeyError):
                    raise KeyError
                with Meter() as own:
                    own.call(int)
                code = 0 if own.ledger().tasks == 1 else 2
                children.append(code)
            except BaseException:
                os._exit(1)
            return None
        return os.waitpid(child, 0)[1]

    children = []
    meter = Meter(clocks_only=clocks_only)
    try:
        with meter:
            status = meter.call(task)
        ledger = meter.ledger()
    finally:
        if children:
            os._exit(children[0])
    assert os.waitstatus_to_exitcode(status) == 0
    assert ledger.tasks == 1


def test_clocks_alone_say_what_they_cannot_tell():
    with Meter(clocks_only=True) as meter:
        meter.call(lambda: (spin(0.05), time.sleep(0.05)))
    ledger = meter.ledger()
    assert ledger.samples == 0
    assert ledger.gil is HAS_GIL
    on_core = ledger.held if HAS_GIL else ledger.released
    assert on_core == pytest.approx(0.05, rel=0.2)
    assert set(ledger.blocked) == {"unknown"}
    assert ledger.blocked["unknown"] >= 0.03
    assert any("blocked kinds" in sentence for sentence in ledger.unknown)
    assert meter.timeline() == ()


@pytest.mark.skipif(not LINUX, reason="the probe reads /proc")
def test_nothing_is_unknown_where_everything_can_be_read():
    with Meter() as meter:
        meter.call(spin, 0.02)
    unknown = meter.ledger().unknown
    assert unknown == () if HAS_GIL else len(unknown) == 1


def test_the_timeline_names_threads_and_is_bounded():
    go_on = threading.Event()
    other = threading.Thread(target=lambda: go_on.wait(WITHIN), name="the-other")
    other.start()
    with Meter(rate_hz=5_000) as meter:
        for _ in range(60):
            meter.call(lambda: (spin(0.002), time.sleep(0.002)))
    spans = meter.timeline()
    go_on.set()
    other.join(WITHIN)
    assert 0 < len(spans) <= 2000
    assert {"the-other", threading.current_thread().name} <= {span.thread for span in spans}
    assert meter.merged_spans == 0
    assert all(span.start >= 0 and span.seconds > 0 for span in spans)
    assert "blocked:sleep" in {span.state for span in spans}
    assert {"held" if HAS_GIL else "released"} <= {span.state for span in spans}


def test_another_thread_sees_what_the_metered_one_is_blocked_on():
    reader, writer = os.pipe()
    seen = []

    def watch(meter):
        deadline = time.monotonic() + WITHIN
        while "pipe" not in seen and time.monotonic() < deadline:
            seen.append(meter.blocked_now())
        os.write(writer, b"x")

    with Meter() as meter:
        watcher = threading.Thread(target=watch, args=(meter,))
        watcher.start()
        meter.call(os.read, reader, 1)
        watcher.join(WITHIN)
        assert meter.blocked_now() is None
    os.close(reader)
    os.close(writer)
    assert seen[-1] == "pipe"


def test_usable_cores_are_within_the_affinity():
    usable = _core.usable_cores()
    assert 0 < usable["cores"] <= usable["affinity"]
    if hasattr(os, "sched_getaffinity"):
        assert usable["affinity"] == len(os.sched_getaffinity(0))
