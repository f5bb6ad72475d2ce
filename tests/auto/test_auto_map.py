"""What the auto pool's map gives, and where it runs what."""

import asyncio
import gc
import itertools
import os
import sys
import threading
import time
import warnings
from concurrent import futures

import auto_tasks as tasks
import pytest

import whichever

SEVERAL_CORES = len(os.sched_getaffinity(0)) > 1
several_cores = pytest.mark.skipif(not SEVERAL_CORES, reason="one core: processes gain nothing")
with_gil = pytest.mark.skipif(
    not getattr(sys, "_is_gil_enabled", lambda: True)(), reason="without a GIL threads compute as well"
)


def test_tiny_tasks_stay_here(pool, engines):
    assert list(pool.map(tasks.tiny, range(300_000))) == list(range(1, 300_001))
    assert engines(pool) == ["serial"]
    assert pool.statistics().engines == {}


def test_tasks_that_wait_go_to_threads(pool, engines):
    begun = time.perf_counter()
    assert list(pool.map(tasks.nap, [0.05] * 100)) == [0.05] * 100
    assert time.perf_counter() - begun < 2.5  # one after the other they take 5
    assert engines(pool) == ["threads"]


def test_a_generator_of_tasks_that_wait_goes_to_threads(pool, engines):
    begun = time.perf_counter()
    assert list(pool.map(tasks.nap, (0.05 for _ in range(100)))) == [0.05] * 100
    assert time.perf_counter() - begun < 2.5
    assert set(engines(pool)) == {"threads"}


@several_cores
@with_gil
def test_tasks_that_compute_go_to_processes(pool):
    pids = list(pool.map(tasks.burn, [0.004] * 300))
    assert len(pids) == 300
    assert set(pids) - {os.getpid()}, pool.history()
    assert pool.statistics().engines["processes"].returned > 100


def test_coroutine_functions_are_awaited(pool, engines):
    assert list(pool.map(tasks.answer, range(500))) == [item * 2 for item in range(500)]
    assert engines(pool) == ["async"]


def test_what_writes_a_global_stays_in_this_process(pool, engines):
    tasks.written = 0
    assert list(pool.map(tasks.count_up, range(600))) == list(range(600))
    assert tasks.written == 600
    assert "processes" not in engines(pool)


@several_cores
def test_a_lambda_and_a_closure_may_go_to_processes(pool):
    rounds = 20_000
    assert list(pool.map(lambda item: (tasks.compute(rounds), item)[1], range(400))) == list(range(400))


def test_an_item_that_does_not_pickle_runs_in_a_thread(make_pool, engines):
    pool = make_pool("processes", 2)  # a fast machine would not choose them for so little
    items = [tasks.Stubborn(number, 480) for number in range(500)]
    with pytest.warns(RuntimeWarning, match="this one stays"):
        assert list(pool.map(tasks.number_of, items)) == list(range(500))
    assert "processes" in engines(pool)


@several_cores
@pytest.mark.parametrize("first_waits", [True, False])
def test_it_moves_when_tasks_change(pool, engines, first_waits):
    naps, work = [-1] * 400, list(range(400))
    items = naps + work if first_waits else work + naps
    expected = [tasks.compute(30_000) if item >= 0 else 0.01 for item in items]
    assert list(pool.map(tasks.two_phases, items)) == expected
    assert engines(pool)  # which ones depends on how busy the machine is


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("task", [tasks.tiny, tasks.look, tasks.compute])
def test_every_task_runs_once(pool, tmp_path, task, ordered, lazy):
    path = tmp_path / "ran"

    def run(item):
        task(item)
        return tasks.record(path, item)

    items = iter(range(300)) if lazy else range(300)
    results = list(pool.map(run, items, ordered=ordered))
    assert (results if ordered else sorted(results)) == list(range(300))
    assert sorted(map(int, path.read_text().split())) == list(range(300))


def test_several_iterables_end_with_the_shortest(pool):
    assert list(pool.map(pow, [2, 3, 4], itertools.count(2))) == [4, 27, 256]
    assert list(pool.map(lambda a, b: (time.sleep(0.005), a - b)[1], range(50), range(50))) == [0] * 50


def test_no_items_give_no_results(pool):
    assert list(pool.map(tasks.tiny, [])) == []
    assert list(pool.map(tasks.tiny, iter(()))) == []
    assert pool.history() == ()


@pytest.mark.parametrize("waits", [0.0, 0.002])
def test_an_exception_comes_in_its_place(pool, waits):
    def run(item):
        time.sleep(waits)
        return tasks.fail_at(item)

    results = pool.map(run, range(900))
    assert list(itertools.islice(results, 700)) == list(range(700))
    with pytest.raises(LookupError):
        next(results)
    with pytest.raises(StopIteration):
        next(results)


def test_results_before_an_exception_of_a_plain_loop_are_kept(pool):
    seen = []
    with pytest.raises(LookupError):
        seen.extend(pool.map(tasks.fail_at, range(5000)))
    assert seen == list(range(700))


def test_context_variables_reach_tasks_wherever_they_run(pool):
    tasks.VARIABLE.set("set by the caller")
    results = list(pool.map(tasks.look, range(60)))
    assert results == [("set by the caller", item) for item in range(60)]


@pytest.mark.parametrize("dropped", [id, iter], ids=["the map", "its iterator"])
def test_an_unread_map_over_a_collection_runs(make_pool, tmp_path, dropped):
    for seconds in (0.0, 0.003):
        path = tmp_path / f"ran {seconds}"
        with make_pool() as pool:
            dropped(
                pool.map(
                    lambda item, path=path, s=seconds: (time.sleep(s), tasks.record(path, item)), range(200)
                )
            )
        assert sorted(map(int, path.read_text().split())) == list(range(200))


def test_a_map_that_is_held_but_unread_runs_before_the_block_is_left(make_pool, tmp_path):
    path = tmp_path / "ran"
    with make_pool() as pool:
        results = pool.map(lambda item: (time.sleep(0.002), tasks.record(path, item))[1], range(200))
    assert len(path.read_text().split()) == 200
    assert list(results) == list(range(200))


@pytest.mark.parametrize("held", [lambda results: results, iter], ids=["the map", "its iterator"])
def test_an_unread_map_over_a_generator_warns(pool, held):
    results = held(pool.map(tasks.tiny, iter(range(5000))))
    with pytest.warns(RuntimeWarning, match="dropped before its results were read"):  # noqa: PT031
        del results
        gc.collect()


def test_what_is_dropped_half_read_does_not_go_on(pool, tmp_path):
    path = tmp_path / "ran"
    results = pool.map(lambda item: (time.sleep(0.01), tasks.record(path, item)), range(5000))
    next(results)
    results.close()
    assert list(results) == []
    pool.shutdown()
    assert len(path.read_text().split()) < 1500


def test_maps_of_several_threads_do_not_meet(pool):
    with futures.ThreadPoolExecutor(4) as threads:
        maps = [threads.submit(lambda k=k: list(pool.map(tasks.compute, [k * 100] * 500))) for k in range(8)]
        assert [sum(each.result()) for each in maps] == [500 * tasks.compute(k * 100) for k in range(8)]


def test_a_map_may_be_read_in_another_thread(pool):
    results = pool.map(lambda item: (time.sleep(0.002), item)[1], iter(range(600)))
    with futures.ThreadPoolExecutor(1) as other:
        assert other.submit(list, results).result() == list(range(600))


def test_a_closed_pool_refuses(make_pool):
    pool = make_pool()
    pool.shutdown()
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.map(tasks.tiny, [1])
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.submit(tasks.tiny, 1)


def test_threads_end_with_the_pool(make_pool):
    before = set(threading.enumerate())
    with make_pool() as pool:
        list(pool.map(tasks.nap, [0.01] * 200))
    assert set(threading.enumerate()) == before


def test_maps_in_a_row_remember_the_function(pool):
    for _ in range(3):
        assert len(list(pool.map(tasks.burn, [0.002] * 200))) == 200
    assert len(pool.history()) <= 9


def test_a_map_is_awaited(pool):
    async def main():
        return [result async for result in pool.amap(tasks.tiny, range(5000))]

    assert asyncio.run(main()) == list(range(1, 5001))


def test_an_awaited_map_raises_in_its_place_and_may_be_left(pool):
    async def main():
        seen = []
        with pytest.raises(LookupError):
            async for result in pool.amap(tasks.fail_at, range(5000)):
                seen.append(result)  # noqa: PERF401 - what came before it raises is kept
        assert seen == list(range(700))
        endless = pool.amap(tasks.tiny, itertools.count())
        async for result in endless:
            if result == 100:
                break
        await endless.aclose()

    asyncio.run(main())


def test_nothing_is_warned_of_in_ordinary_use(make_pool):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with make_pool() as pool:
            list(pool.map(tasks.nap, [0.001] * 50))
            list(pool.map(tasks.compute, [2000] * 50))
            pool.submit(tasks.tiny, 1).result()


def test_an_engine_asked_for_in_the_environment_is_used(make_pool, monkeypatch, engines):
    monkeypatch.setenv("WHICHEVER_ENGINE", "serial")
    pool = make_pool()
    ran = []
    assert list(pool.map(lambda item: ran.append(threading.get_ident()) or item, range(10))) == list(
        range(10)
    )
    assert set(ran) == {threading.get_ident()}
    assert pool.submit(threading.get_ident).result() == threading.get_ident()
    assert engines(pool) == ["serial"]


def test_an_unknown_engine_in_the_environment_is_named(make_pool, monkeypatch):
    monkeypatch.setenv("WHICHEVER_ENGINE", "thread")
    with pytest.raises(ValueError, match=r"WHICHEVER_ENGINE.*'thread'"):
        make_pool()


def test_engines_limit_the_choice(make_pool, engines):
    pool = make_pool(engines={"threads", "serial"})
    assert set(pool.map(tasks.burn, [0.002] * 300)) == {os.getpid()}
    assert set(engines(pool)) <= {"threads", "serial"}


@pytest.mark.parametrize("engine", ["serial", "threads", "processes"])
def test_one_engine_may_be_asked_for(make_pool, engine, engines):
    pool = make_pool(engine, 2)
    assert list(pool.map(tasks.tiny, range(100))) == list(range(1, 101))
    assert pool.submit(tasks.tiny, 1).result() == 2
    assert engines(pool) == [engine]


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"engine": "thread"}, ValueError, "unknown engine 'thread'"),
        ({"engines": ["auto"]}, ValueError, "unknown engine 'auto'"),
        ({"engines": []}, ValueError, "at least one engine"),
        ({"workers": 0}, ValueError, "greater than 0"),
        ({"engine": 2, "workers": 3}, TypeError, "twice"),
    ],
)
def test_arguments_that_mean_nothing_are_refused(arguments, error, words):
    with pytest.raises(error, match=words):
        whichever.Pool(**arguments)


def test_a_number_is_the_workers(make_pool):
    assert repr(make_pool(3)) == "<Pool max_workers=3>"


def test_it_tells_what_it_does_and_why(make_pool, capsys):
    pool = make_pool(verbose=True)
    with pytest.raises(whichever.NoItemsError, match="decided nothing yet"):
        _ = pool.verdict
    list(pool.map(tasks.burn, [0.003] * 300))
    verdict = pool.verdict
    assert verdict.engine == pool.history()[-1].engine
    assert verdict.ledger.tasks > 0
    assert "burn" in str(verdict)
    said = capsys.readouterr().err.splitlines()
    assert len(said) == len(pool.history())
    assert all(line.startswith("whichever: ") for line in said)
    assert pool.statistics().decisions == len(said)
