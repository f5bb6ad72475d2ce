"""`which` end to end on small real tasks. Engines are judged by what they do, never by seconds."""

import asyncio
import hashlib
import itertools
import sys
import threading
import time

import pytest

import whichever
from whichever import _types


def spin(rounds):
    total = 0
    for k in range(rounds):
        total += k & 7
    return total


def nap(seconds):
    time.sleep(seconds)
    return seconds


def digest(data):
    return hashlib.sha256(data).hexdigest()


def parts_sum(ledger):
    return ledger.held + ledger.released + ledger.waiting + ledger.queued + sum(ledger.blocked.values())


def test_sleepers_belong_to_many_threads():
    verdict = whichever.which(nap, [0.02] * 120)
    assert verdict.engine == "threads"
    assert verdict.workers >= 16
    assert verdict.speedup > 5
    assert verdict.ledger.blocked["sleep"] > 0.8 * (verdict.ledger.wall - verdict.ledger.queued)


def test_pure_python_holds_the_gil():
    verdict = whichever.which(spin, [200_000] * 400)
    ledger = verdict.ledger
    running = ledger.wall - ledger.queued
    assert ledger.held > 0.8 * running if ledger.gil else ledger.held == 0
    assert parts_sum(ledger) == pytest.approx(ledger.wall, rel=0.01)
    if ledger.queue_share < 0.1:
        assert verdict.engine in ({"processes", "interpreters"} if ledger.gil else {"threads"})


def test_no_item_runs_twice_and_no_result_is_lost():
    seen = []

    def remember(item):
        seen.append(item)
        return item * 2

    verdict = whichever.which(remember, list(range(50)))
    assert len(seen) == len(set(seen))
    assert sorted(seen) == sorted(item for item, _ in verdict.samples)
    assert all(result == 2 * item for item, result in verdict.samples)
    assert [item for item, _ in verdict.samples] == list(verdict.positions)
    assert "seen" in verdict.excluded["processes"]


def test_an_endless_generator_goes_on_where_sampling_stopped():
    source = itertools.count()
    verdict = whichever.which(digest_of_number, source, count=100_000)
    assert next(source) == len(verdict.samples)


def digest_of_number(number):
    return hashlib.sha256(str(number).encode() * 1000).hexdigest()


def test_no_items_is_a_clear_error():
    with pytest.raises(whichever.NoItemsError, match="at least one"):
        whichever.which(spin, [])


def test_a_task_that_fails_is_reported_with_its_index():
    def picky(item):
        if item == 0:
            raise KeyError(item)
        return spin(10_000)

    verdict = whichever.which(picky, range(40))
    assert [(failure.index, type(failure.error)) for failure in verdict.failures] == [(0, KeyError)]
    assert verdict.samples


def test_a_function_that_always_fails_is_a_task_error_with_its_cause():
    def broken(item):
        raise ValueError(item)

    with pytest.raises(whichever.TaskError, match="every one of the 5 items") as caught:
        whichever.which(broken, range(100))
    assert isinstance(caught.value.__cause__, ValueError)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engines": ["thread"]}, "unknown engine"),
        ({"workers": 0}, "workers"),
        ({"budget": 0}, "budget"),
        ({"budget": float("nan")}, "budget"),
        ({"count": 0}, "count"),
    ],
)
def test_options_out_of_range_are_refused_with_words(options, message):
    with pytest.raises(ValueError, match=message):
        whichever.which(spin, [1], **options)


def test_something_that_cannot_be_called_is_refused():
    with pytest.raises(TypeError, match="callable"):
        whichever.which(3, [1])


def test_only_the_engines_asked_for_compete():
    verdict = whichever.which(spin, [100_000] * 40, engines=["threads"])
    assert verdict.engine == "threads"
    assert {forecast.engine for forecast in verdict.forecasts} <= {"serial", "threads"}


def test_the_number_of_workers_asked_for_is_kept():
    verdict = whichever.which(nap, [0.01] * 60, workers=3)
    assert verdict.workers == 3


async def fetch(delay):
    await asyncio.sleep(delay)
    return delay


async def careless(delay):
    time.sleep(delay)  # noqa: ASYNC251 - what the test is about
    return delay


def test_coroutines_belong_to_the_event_loop():
    verdict = whichever.which(fetch, [0.01] * 200)
    assert verdict.engine == "async"
    assert verdict.speedup > 5
    assert "threads" in verdict.excluded


def test_a_blocking_call_in_a_coroutine_is_named():
    verdict = whichever.which(careless, [0.02] * 40)
    assert any("blocking call" in line and "careless" in line for line in verdict.advice), verdict.advice


def test_it_works_inside_a_running_event_loop():
    async def ask():
        return whichever.which(fetch, [0.01] * 100), whichever.which(spin, [20_000] * 100)

    waiting, busy = asyncio.run(ask())
    assert waiting.engine == "async"
    assert busy.samples


def keep_busy(stop):
    while not stop.is_set():
        spin(1000)


def test_it_works_in_a_thread_beside_a_busy_one():
    stop = threading.Event()
    busy = threading.Thread(target=lambda: keep_busy(stop))
    busy.start()
    answers = []
    asking = threading.Thread(target=lambda: answers.append(whichever.which(spin, [100_000] * 50)))
    asking.start()
    asking.join(60)
    stop.set()
    busy.join(60)
    ledger = answers[0].ledger
    assert parts_sum(ledger) == pytest.approx(ledger.wall, rel=0.01)
    if ledger.gil:
        assert ledger.waiting > 0
        assert ledger.waiting + ledger.queued > 0.15 * ledger.wall


def test_a_question_inside_a_task_is_answered_without_trials():
    def asks(item):
        return whichever.which(spin, [5_000] * 20, budget=0.05).engine

    verdict = whichever.which(asks, range(6), engines=["serial", "threads"])
    assert verdict.samples


def test_verify_measures_every_engine_that_is_not_excluded():
    verdict = whichever.which(spin, [100_000] * 30, verify=True)
    assert verdict.verified
    measured = {forecast.engine for forecast in verdict.forecasts if forecast.measured is not None}
    assert measured >= {"serial", "threads", "processes"}
    best = min(forecast.measured for forecast in verdict.forecasts if forecast.measured is not None)
    chosen = verdict.forecasts[0]
    assert chosen.engine == verdict.engine
    assert chosen.measured <= best * 1.05
    assert whichever.advisor.machine().record.verdicts >= 1


def test_processes_are_told_from_threads_by_what_they_would_lose():
    counter = {"n": 0}

    def count_up(item):
        counter["n"] += 1
        return spin(50_000)

    verdict = whichever.which(count_up, range(50))
    assert "counter" in verdict.excluded["processes"]
    assert counter["n"] == len(verdict.samples)


def test_forecasts_come_with_intervals_and_the_chosen_one_first():
    verdict = whichever.which(digest, [bytes(2_000_000)] * 60)
    assert all(f.low <= f.seconds <= f.high for f in verdict.forecasts)
    assert (verdict.forecasts[0].engine, verdict.forecasts[0].workers) == (verdict.engine, verdict.workers)
    assert {f.engine for f in verdict.forecasts} <= set(_types.ENGINE_NAMES)


def test_progress_is_told():
    lines = []
    whichever.which(spin, [10_000] * 20, progress=lines.append)
    assert any("sampling" in line for line in lines)


def test_items_that_a_trial_left_over_are_not_lost():
    here = threading.get_ident()

    def slower_elsewhere(item):
        time.sleep(0.002 if threading.get_ident() == here else 0.1)
        return item

    source = iter(range(100_000))
    verdict = whichever.which(slower_elsewhere, source, count=100_000, engines=["serial", "threads"])
    taken = sorted(item for item, _ in verdict.samples)
    assert taken == list(range(len(taken)))
    assert next(source) == len(taken)


def test_an_item_that_leaves_in_a_trial_is_a_failure_and_is_verified_too():
    here = threading.get_ident()

    def leaves_elsewhere(item):
        if threading.get_ident() != here:
            sys.exit(3)
        time.sleep(0.005)
        return item

    verdict = whichever.which(
        leaves_elsewhere, iter(range(200)), count=200, engines=["serial", "threads"], verify=True
    )
    assert verdict.failures
    assert {type(failure.error) for failure in verdict.failures} == {SystemExit}
    assert verdict.tasks == 200
