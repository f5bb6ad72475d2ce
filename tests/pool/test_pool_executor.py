"""`ProcessPool` is an Executor in every corner: submit, map, shutdown, with, and each argument."""

import gc
import multiprocessing
import operator
import os
import threading
import weakref
from concurrent import futures
from concurrent.futures.process import BrokenProcessPool

import pool_tasks as tasks
import pytest
from watching import is_alive, until, written

import whichever


def test_it_is_an_executor_and_its_futures_are_futures(pool):
    future = pool.submit(tasks.add, 1, right=2)
    assert isinstance(pool, futures.Executor)
    assert isinstance(future, futures.Future)
    assert isinstance(future, whichever.Future)
    assert future.result() == 3


def test_keywords_named_like_those_of_submit_reach_the_task(pool):
    def task(**given):
        return given

    given = {"self": 1, "fn": 2, "args": 3, "timeout": 4, "retries": 5}
    assert pool.submit(task, **given).result() == given


def test_a_call_without_a_function_is_a_type_error(pool):
    with pytest.raises(TypeError):
        pool.submit()
    with pytest.raises(TypeError):
        pool.submit(fn=tasks.same)


def test_something_that_is_no_function_fails_its_own_task_alone(pool):
    future = pool.submit(42)
    with pytest.raises(TypeError, match="not callable"):
        future.result()
    assert pool.submit(tasks.same, 1).result() == 1


def test_tasks_run_outside_the_caller_on_no_more_workers_than_allowed(pool):
    pids = set(pool.map(tasks.pid_of, range(200)))
    assert os.getpid() not in pids
    assert 1 <= len(pids) <= 2
    assert pids <= set(pool.worker_pids())


def test_two_tasks_that_wait_for_each_other_run_at_the_same_time(pool, tmp_path):
    def meet(own, others):
        open(own, "w").close()
        return until(lambda: os.path.exists(others))

    left, right = str(tmp_path / "left"), str(tmp_path / "right")
    both = [pool.submit(meet, left, right), pool.submit(meet, right, left)]
    assert [future.result() for future in both] == [True, True]


def test_no_worker_starts_before_there_is_a_task_and_warm_up_starts_all(make_pool):
    pool = make_pool(3)
    assert pool.worker_pids() == ()
    assert pool.statistics().workers_started == 0
    pool.warm_up()
    assert until(lambda: len(pool.worker_pids()) == 3)


def test_one_task_starts_one_worker(make_pool):
    pool = make_pool(4)
    assert [pool.submit(tasks.square, item).result() for item in range(5)] == [0, 1, 4, 9, 16]
    assert pool.statistics().workers_started == 1


def test_after_shutdown_no_task_is_taken_and_its_workers_are_gone(make_pool):
    pool = make_pool()
    pid = pool.submit(os.getpid).result()
    pool.shutdown()
    for hand_in in (lambda: pool.submit(tasks.same, 1), lambda: pool.map(tasks.same, [1])):
        with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
            hand_in()
    assert until(lambda: not is_alive(pid))
    pool.shutdown()


def test_leaving_the_with_block_waits_for_the_tasks(make_pool):
    with make_pool() as pool:
        handed_in = [pool.submit(tasks.nap, 0.05) for _ in range(6)]
    assert all(future.done() for future in handed_in)
    assert [future.result() for future in handed_in] == [0.05] * 6


def test_shutdown_without_waiting_returns_at_once_and_the_tasks_run(make_pool, tmp_path):
    pool = make_pool(1)
    gate, path = tmp_path / "gate", tmp_path / "runs"
    handed_in = [pool.submit(tasks.wait_for, str(path), str(gate)), pool.submit(tasks.square, 3)]
    pool.shutdown(wait=False)
    assert not handed_in[0].done()
    gate.touch()
    assert handed_in[1].result() == 9


def test_cancel_futures_drops_what_waits_and_lets_end_what_runs(make_pool, tmp_path):
    pool = make_pool(1)
    gate, path = tmp_path / "gate", tmp_path / "runs"
    running = pool.submit(tasks.wait_for, str(path), str(gate))
    waiting = [pool.submit(tasks.square, item) for item in range(50)]
    assert until(written(path))
    pool.shutdown(wait=False, cancel_futures=True)
    gate.touch()
    assert isinstance(running.result(), int)
    assert all(future.cancelled() for future in waiting)


def test_a_pool_that_nobody_holds_runs_what_was_handed_in_and_lets_its_workers_go():
    pool = whichever.ProcessPool(1)
    pid = pool.submit(os.getpid).result()
    futures_left = [pool.submit(tasks.square, item) for item in range(20)]
    gone = weakref.ref(pool)
    del pool
    gc.collect()
    assert gone() is None
    assert [future.result() for future in futures_left] == [item * item for item in range(20)]
    assert until(lambda: not is_alive(pid))


def test_futures_outlive_their_pool(make_pool):
    with make_pool() as pool:
        future, failed = pool.submit(tasks.same, "kept"), pool.submit(tasks.fail, "kept too")
    assert future.result() == "kept"
    with pytest.raises(ValueError, match="kept too"):
        failed.result()
    assert until(lambda: not pool.worker_pids())
    assert future.result(0) == "kept"


@pytest.mark.parametrize("threads", [4])
def test_many_threads_may_share_a_pool(pool, threads):
    found = []

    def use(first):
        found.append(list(pool.map(tasks.square, range(first, first + 50))))
        found.append([pool.submit(tasks.square, first).result()] * 50)

    users = [threading.Thread(target=use, args=(100 * number,)) for number in range(threads)]
    for user in users:
        user.start()
    for user in users:
        user.join()
    assert sorted(sum(part) for part in found) == sorted(
        total
        for number in range(threads)
        for total in (
            sum(item * item for item in range(100 * number, 100 * number + 50)),
            50 * (100 * number) ** 2,
        )
    )


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"max_workers": 0}, ValueError, "max_workers must be greater than 0"),
        ({"max_workers": -1}, ValueError, "max_workers must be greater than 0"),
        ({"initializer": 3}, TypeError, "initializer must be a callable"),
        ({"max_tasks_per_child": 0}, ValueError, "max_tasks_per_child must be >= 1"),
        ({"max_tasks_per_child": 1.5}, TypeError, "max_tasks_per_child must be an integer"),
        ({"timeout": 0}, ValueError, "timeout must be above 0"),
        ({"timeout": float("nan")}, ValueError, "timeout must be above 0"),
        ({"retries": -1}, ValueError, "retries must be at least 0"),
        ({"mp_context": "spawn"}, TypeError, "mp_context"),
        ({"max_memory_bytes": 0}, ValueError, "max_memory_bytes"),
        ({"inner_threads": 0}, ValueError, "inner_threads"),
        (
            {"max_tasks_per_child": 1, "mp_context": multiprocessing.get_context("fork")},
            ValueError,
            "incompatible with the 'fork'",
        ),
    ],
)
def test_an_argument_out_of_range_is_refused_at_once(arguments, error, words):
    with pytest.raises(error, match=words):
        whichever.ProcessPool(**arguments)


def test_there_are_as_many_workers_as_usable_cores_unless_told(make_pool):
    cores = max(int(whichever._core.usable_cores()["cores"]), 1)
    assert repr(make_pool(None)) == f"<ProcessPool max_workers={cores}>"


def test_the_initializer_runs_once_in_each_worker_before_its_tasks(make_pool, tmp_path):
    def prepare(folder, word):
        tasks.prepared = word
        tasks.mark(f"{folder}/{os.getpid()}")

    def look(_item):
        return tasks.prepared

    pool = make_pool(2, initializer=prepare, initargs=(str(tmp_path), "ready"))
    assert list(pool.map(look, range(40))) == ["ready"] * 40
    runs = [path.read_text().splitlines() for path in tmp_path.iterdir()]
    assert 1 <= len(runs) <= 2
    assert all(len(lines) == 1 for lines in runs)


def test_an_initializer_that_raises_breaks_the_pool_and_is_the_cause(make_pool):
    pool = make_pool(2, initializer=tasks.fail, initargs=("not prepared",))
    futures_there = [pool.submit(tasks.same, item) for item in range(5)]
    for future in futures_there:
        with pytest.raises(BrokenProcessPool) as caught:
            future.result()
        assert isinstance(caught.value, whichever.PoolBrokenError)
        assert isinstance(caught.value.__cause__, ValueError)
        assert str(caught.value.__cause__) == "not prepared"
    with pytest.raises(BrokenProcessPool):
        pool.submit(tasks.same, 1).result()


@pytest.mark.parametrize("end", [os._exit, exit])
def test_an_initializer_that_exits_does_not_hang_the_pool(make_pool, end):
    pool = make_pool(1, initializer=end, initargs=(3,))
    with pytest.raises(BrokenProcessPool):
        pool.submit(tasks.same, 1).result()


def test_an_initializer_that_does_not_pickle_is_named(make_pool):
    pool = make_pool(1, initializer=tasks.same, initargs=(threading.Lock(),))
    with pytest.raises(BrokenProcessPool, match="pickle"):
        pool.submit(tasks.same, 1).result()


def test_a_worker_killed_while_it_prepares_is_replaced(make_pool, tmp_path):
    path = tmp_path / "preparing"

    def hang_once():
        if not path.exists():
            tasks.mark(path)
            tasks.nap(60)

    pool = make_pool(1, initializer=hang_once)
    future = pool.submit(tasks.same, "ran")
    assert until(written(path))
    assert until(lambda: path.read_text().endswith("\n"))
    os.kill(int(path.read_text()), 9)
    assert future.result() == "ran"
    assert pool.statistics().lost == 0


@pytest.mark.parametrize("limit", [1, 3])
def test_a_worker_leaves_after_its_share_of_tasks(make_pool, limit):
    pool = make_pool(1, max_tasks_per_child=limit)
    pids = [pool.submit(os.getpid).result() for _ in range(6)]
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [limit] * (6 // limit)
    assert pool.statistics().workers_died == 0


def test_a_map_over_workers_of_few_tasks_ends(make_pool):
    pool = make_pool(2, max_tasks_per_child=5)
    pids = list(pool.map(tasks.pid_of, range(60)))
    assert max(map(pids.count, pids)) <= 5


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_workers_come_from_the_context_that_was_given(make_pool, method):
    context = multiprocessing.get_context(method)
    pool = make_pool(2, mp_context=context, initializer=tasks.same, initargs=(1,))
    assert list(pool.map(tasks.square, range(10))) == [item * item for item in range(10)]
    assert pool.submit(lambda: 5).result() == 5
    pid = pool.submit(os.getpid).result()
    assert pid in {child.pid for child in multiprocessing.active_children()}
    with pytest.raises(whichever.WorkerDied) as caught:
        pool.submit(tasks.die).result()
    assert caught.value.signal == 9
    assert pool.submit(tasks.same, "on").result() == "on"
    pool.shutdown()


@pytest.mark.parametrize("method", ["forkserver", "spawn"])
def test_a_context_that_imports_the_script_asks_for_its_guard(start, method):
    program = start(
        f"""
        import multiprocessing, whichever
        pool = whichever.ProcessPool(1, mp_context=multiprocessing.get_context("{method}"))
        pool.submit(abs, -1).result(30)
        """
    )
    _, err, code = program.finish()
    assert code == 1
    assert "if __name__ == '__main__':" in err
    assert "whichever.errors.PoolBrokenError" in err.splitlines()[-1]


def test_kill_workers_ends_everything_now(make_pool, tmp_path):
    pool = make_pool(1)
    future = pool.submit(tasks.spin, str(tmp_path / "runs"))
    waiting = pool.submit(tasks.same, 1)
    assert until(written(tmp_path / "runs"))
    pids = pool.worker_pids()
    pool.kill_workers()
    assert not any(map(is_alive, pids))
    with pytest.raises(BrokenProcessPool):
        future.result()
    assert waiting.cancelled()
    with pytest.raises(RuntimeError):
        pool.submit(tasks.same, 1)


def test_a_pool_and_its_core_refuse_to_be_pickled(pool):
    import pickle

    with pytest.raises(TypeError):
        pickle.dumps(pool)
    with pytest.raises(TypeError):
        pool.submit(operator.attrgetter("x"), pool).result()
