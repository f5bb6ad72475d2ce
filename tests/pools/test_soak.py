"""Soak runs, scaled down: on ours, and on pools that are wrong in a known way."""

import concurrent.futures
import functools
import mmap
import multiprocessing

import pytest
import stand_ins

SPAWNING = functools.partial(
    concurrent.futures.ProcessPoolExecutor, mp_context=multiprocessing.get_context("spawn")
)

forks = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
"""The stand-ins fork the caller; ours does not."""


@pytest.fixture
def soaked(room):
    return room("tools", "soak").soaked


@forks
def test_a_sturdy_pool_keeps_every_result_while_its_workers_are_killed(soaked):
    record = soaked("kills", stand_ins.Sturdy, 600)
    assert record["wrong"] == "nothing"
    assert int(record["noted"].rpartition(" ")[2]) > 0


@forks
@pytest.mark.parametrize(("pool", "words"), [("Forgetful", "task"), ("Mistaken", "map, task 1:")])
def test_a_lost_or_doubled_result_is_found(soaked, pool, words):
    record = soaked("kills", getattr(stand_ins, pool), 600)
    assert words in record["wrong"]


def test_a_run_in_which_nobody_was_killed_proves_nothing(soaked):
    class Unkillable(stand_ins.Inline):
        def worker_pids(self):
            return []

    assert "no worker was killed" in soaked("kills", Unkillable, 10)["wrong"]


@forks
def test_a_pool_that_leaves_a_memory_file_is_found(soaked, monkeypatch, room):
    census = room("tools", "census")
    monkeypatch.setattr(census, "settled", functools.partial(census.settled, seconds=2.0))
    record = soaked("pools", stand_ins.Leaking, 4)
    assert "4 more descriptors" in record["wrong"]
    assert "4 more memfds" in record["wrong"]


@pytest.mark.parametrize("name", ["pools", "tasks"])
def test_the_standard_pool_leaves_nothing(soaked, name):
    """Spawned: a fork's memory grows with every page of this process that it touches."""
    assert soaked(name, SPAWNING, 8)["wrong"] == "nothing"


def test_what_a_pool_raises_is_a_finding(soaked):
    class Failing(stand_ins.Inline):
        def map(self, *_):
            msg = "out of order"
            raise OSError(msg)

    assert soaked("tasks", Failing, 10)["wrong"] == "OSError: out of order"


def test_memory_that_grows_is_found(room):
    soak = room("tools", "soak").Soak(make=None, count=1)
    soak.note_memory()
    with mmap.mmap(-1, 32 << 20) as kept:  # fresh pages: what is malloc'ed may stand where memory was free
        kept.write(b"x" * len(kept))
        soak.note_memory()
    soak.judge_memory("the caller")
    assert soak.wrong[0].startswith("the caller grew by 3")


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("name", "count"), [("kills", 10_000), ("pools", 60), ("tasks", 200_000)])
def test_our_pool_keeps_its_word_and_leaves_nothing(soaked, process_pool, name, count):
    assert soaked(name, process_pool, count)["wrong"] == "nothing"
