"""Ledgers of tasks that know theirs: how far off the probe may be, in per cent of wall time.

The allowances are those of a busy machine with two cores and half a second of samples; the benches measure the
real errors.
"""

import os
import sys
import threading
import time

import pytest

from whichever.meter import Meter

MS = 1_000_000
HAS_GIL = getattr(sys, "_is_gil_enabled", lambda: True)()
needs_gil = pytest.mark.skipif(not HAS_GIL, reason="nobody holds what does not exist")

SHARE = 0.06
"""Allowed error of a part, of wall time: three standard errors of half a second at 1 kHz."""
EXACT = 0.03
"""Allowed error of what exact clocks say, of wall time."""


def metered(task):
    with Meter() as meter:
        meter.call(task)
    ledger = meter.ledger()
    assert ledger.samples > 50
    return ledger


@needs_gil
def test_half_held_half_asleep(truth):
    known = {"held": 0, "asleep": 0}

    def task():
        for _ in range(10):
            known["held"] += truth.held.truth_spin(20 * MS)
            known["asleep"] += truth.released.truth_sleep(20 * MS)

    ledger = metered(task)
    assert ledger.held == pytest.approx(known["held"] / 1e9, abs=EXACT * ledger.wall)
    assert ledger.released <= SHARE * ledger.wall
    assert ledger.blocked["sleep"] <= known["asleep"] / 1e9 + EXACT * ledger.wall
    assert ledger.blocked["sleep"] + ledger.queued >= (1 - SHARE) * known["asleep"] / 1e9


@needs_gil
@pytest.mark.parametrize("percent", [10, 50, 90])
def test_a_known_share_of_the_cpu_time_is_released(truth, percent):
    known = {"held": 0, "released": 0}

    def task():
        for _ in range(100):
            known["held"] += truth.held.truth_spin(5 * MS * (100 - percent) // 100)
            known["released"] += truth.released.truth_spin(5 * MS * percent // 100)

    ledger = metered(task)
    cpu = ledger.held + ledger.released
    assert cpu == pytest.approx(sum(known.values()) / 1e9, abs=EXACT * ledger.wall)
    assert ledger.released == pytest.approx(known["released"] / 1e9, abs=SHARE * cpu)
    assert ledger.waiting <= SHARE * ledger.wall


@pytest.mark.skipif(HAS_GIL, reason="a GIL build tells held from released")
def test_without_a_gil_all_cpu_time_is_released(truth):
    def task():
        truth.held.truth_spin(100 * MS)
        time.sleep(0.1)

    ledger = metered(task)
    assert not ledger.gil
    assert ledger.held == ledger.waiting == 0
    assert ledger.released == pytest.approx(0.1, abs=EXACT * ledger.wall)


@needs_gil
def test_sleeping_with_the_gil_is_held_off_cpu(truth):
    known = []
    ledger = metered(lambda: known.append(truth.held.truth_sleep(300 * MS)))
    assert ledger.held == pytest.approx(known[0] / 1e9, abs=SHARE * ledger.wall)
    assert ledger.held_off_cpu >= (1 - SHARE) * ledger.held


@needs_gil
def test_a_thread_beside_one_that_holds_the_gil_waits(truth):
    known = {"waiting": 0}
    stop = threading.Event()
    started = threading.Event()

    def hold():
        started.set()
        while not stop.is_set():
            truth.held.truth_spin(20 * MS)

    def task():
        for _ in range(25):
            truth.released.truth_sleep(2 * MS)
            # Python goes on only when it has the GIL again: what passed since the native end was the wait.
            known["waiting"] += time.monotonic_ns() - truth.held.truth_ended_ns()

    holder = threading.Thread(target=hold)
    holder.start()
    started.wait(10)
    try:
        with Meter() as meter:
            meter.call(task)
    finally:
        stop.set()
        holder.join(30)
    ledger = meter.ledger()
    assert ledger.waiting + ledger.queued >= known["waiting"] / 1e9 - SHARE * ledger.wall
    assert ledger.waiting <= known["waiting"] / 1e9 + SHARE * ledger.wall
    assert ledger.waiting > 0.5 * known["waiting"] / 1e9
    assert ledger.foreign_cpu > 0.2 * ledger.wall
    assert any(span.state == "held" and span.thread == holder.name for span in meter.timeline())


def test_an_inner_thread_is_charged_to_the_task_and_a_foreign_one_is_not(truth):
    def task():
        inner = threading.Thread(target=truth.released.truth_spin, args=(200 * MS,))
        inner.start()
        inner.join(60)

    ledger = metered(task)
    assert ledger.inner_cpu == pytest.approx(0.2, rel=0.2)
    assert ledger.foreign_cpu <= 0.02

    foreign = threading.Thread(target=truth.released.truth_spin, args=(400 * MS,))
    foreign.start()
    ledger = metered(lambda: truth.released.truth_sleep(200 * MS))
    foreign.join(60)
    assert ledger.foreign_cpu > 0.03
    assert ledger.inner_cpu < 0.5 * ledger.foreign_cpu


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one core: no pool")
def test_a_pool_of_native_threads_that_was_there_before_is_inner():
    numpy = pytest.importorskip("numpy")
    matrix = numpy.ones((700, 700))
    matrix @ matrix  # the pool starts here, before metering
    before = time.process_time() - time.thread_time()
    with Meter() as meter:
        for _ in range(10):
            meter.call(matrix.__matmul__, matrix)
    pool = time.process_time() - time.thread_time() - before
    ledger = meter.ledger()
    if pool < 0.05:
        pytest.skip("this numpy multiplies in one thread")
    assert ledger.inner_cpu * ledger.tasks > 0.5 * pool
    assert ledger.foreign_cpu < 0.2 * ledger.inner_cpu


@needs_gil
def test_releases_of_the_gil_are_counted_to_an_order(truth):
    def task():
        for _ in range(5_000):
            truth.released.truth_spin(20_000)
            truth.held.truth_spin(20_000)

    assert 1_500 <= metered(task).releases <= 15_000
