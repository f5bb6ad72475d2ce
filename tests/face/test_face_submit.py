"""`submit`, futures, `shutdown`, `with`: the same in every pool."""

import asyncio
import gc
import weakref
from concurrent import futures

import face_tasks as tasks
import pytest

import whichever


def test_it_is_an_executor_and_its_futures_are_ours(pool, task):
    future = pool.submit(task(tasks.add), 1, right=2)
    assert isinstance(pool, futures.Executor)
    assert isinstance(future, whichever.Future)
    assert isinstance(future, futures.Future)
    assert future.result() == 3
    assert future.done()
    assert not future.running()
    assert future.exception() is None
    assert future.cancel() is False


def test_keywords_named_like_those_of_submit_reach_the_task(pool, task):
    words = {"self": 1, "fn": 2, "args": 3, "timeout": 4, "rules": 5}
    assert pool.submit(task(tasks.given), **words).result() == words


def test_what_a_task_raises_is_its_futures_with_the_tasks_own_lines(pool, task):
    future = pool.submit(task(tasks.fail), "lost")
    with pytest.raises(LookupError, match="lost") as caught:
        future.result()
    assert future.exception() is caught.value
    lines = [str(caught.value.__cause__), *map(str, caught.traceback)]
    assert any("raise LookupError(text)" in line for line in lines)
    assert pool.submit(task(tasks.same), 1).result() == 1


def test_a_task_that_exits_fails_alone(pool, task):
    with pytest.raises(SystemExit) as caught:
        pool.submit(task(tasks.leave), 3).result()
    assert caught.value.code == 3
    assert pool.submit(task(tasks.same), 1).result() == 1


def test_wait_and_as_completed_take_its_futures(pool, task):
    handed_in = [pool.submit(task(tasks.square), item) for item in range(10)]
    assert {future.result() for future in futures.as_completed(handed_in)} == {i * i for i in range(10)}
    assert futures.wait(handed_in).not_done == set()
    failed = pool.submit(task(tasks.fail), "")
    assert futures.wait([failed], return_when=futures.FIRST_EXCEPTION).done == {failed}


def test_a_callback_hears_of_the_end_once(pool, task, until):
    heard = []
    future = pool.submit(task(tasks.nap), 0.01)
    future.add_done_callback(heard.append)
    future.result()
    assert until(lambda: heard == [future])
    future.add_done_callback(heard.append)
    assert heard == [future, future]


def test_an_event_loop_awaits_its_futures(pool, task):
    async def ask():
        several = [asyncio.wrap_future(pool.submit(task(tasks.square), item)) for item in range(5)]
        return await asyncio.gather(*several)

    assert asyncio.run(ask()) == [0, 1, 4, 9, 16]


def test_context_variables_travel_with_the_task_and_stay_there(pool, task):
    token = tasks.tag.set("mine")
    try:
        assert pool.submit(task(tasks.read_tag)).result() == "mine"
        assert pool.submit(task(tasks.set_tag), "theirs").result() == "theirs"
        assert tasks.tag.get() == "mine"
        assert pool.submit(task(tasks.read_tag)).result() == "mine"
    finally:
        tasks.tag.reset(token)


def test_after_shutdown_no_task_is_taken(pool, task):
    pool.submit(task(tasks.same), 1).result()
    pool.shutdown()
    for hand_in in (lambda: pool.submit(task(tasks.same), 1), lambda: pool.map(task(tasks.same), [1])):
        with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
            hand_in()
    pool.shutdown()
    pool.shutdown(wait=False, cancel_futures=True)


def test_a_pool_that_had_no_task_shuts_down(make_pool):
    make_pool(1).shutdown()
    with make_pool(1):
        pass


def test_leaving_the_with_block_waits_for_the_tasks(make_pool, task):
    with make_pool() as pool:
        handed_in = [pool.submit(task(tasks.nap), 0.02) for _ in range(6)]
    assert all(future.done() for future in handed_in)
    assert [future.result() for future in handed_in] == [0.02] * 6


@pytest.mark.but("SerialPool")
def test_shutdown_without_waiting_returns_at_once_and_the_tasks_run(make_pool, task, tmp_path):
    pool = make_pool(1)
    handed_in = pool.submit(task(tasks.wait_for), str(tmp_path / "runs"), str(tmp_path / "gate"))
    behind = pool.submit(task(tasks.square), 3)
    pool.shutdown(wait=False)
    assert not handed_in.done()
    (tmp_path / "gate").touch()
    assert behind.result() == 9


@pytest.mark.but("SerialPool")
def test_cancel_futures_drops_what_waits_and_lets_end_what_runs(make_pool, task, tmp_path, until):
    pool = make_pool(1)
    gate, path = tmp_path / "gate", tmp_path / "runs"
    running = pool.submit(task(tasks.wait_for), str(path), str(gate))
    waiting = [pool.submit(task(tasks.square), item) for item in range(50)]
    assert until(path.exists)
    assert running.running()
    pool.shutdown(wait=False, cancel_futures=True)
    gate.touch()
    assert running.result() == str(gate)
    assert all(future.cancelled() for future in waiting)
    with pytest.raises(futures.CancelledError):
        waiting[0].result()


@pytest.mark.but("SerialPool")
def test_a_task_that_waits_can_be_cancelled(make_pool, task, tmp_path, until, marks):
    pool = make_pool(1)
    gate, path = tmp_path / "gate", tmp_path / "runs"
    pool.submit(task(tasks.wait_for), str(path), str(gate))
    assert until(path.exists)
    waiting = pool.submit(task(tasks.mark), str(path))
    assert waiting.cancel()
    assert waiting.cancelled()
    assert waiting.cancel()
    gate.touch()
    pool.shutdown()
    assert marks(path) == 1


@pytest.mark.but("SerialPool")
def test_who_waits_for_a_task_hears_that_it_was_cancelled(make_pool, task, tmp_path, until):
    pool = make_pool(1)
    gate, path = tmp_path / "gate", tmp_path / "runs"
    running = pool.submit(task(tasks.wait_for), str(path), str(gate))
    assert until(path.exists)
    waiting = [pool.submit(task(tasks.same), item) for item in range(3)]
    heard = []
    waiting[0].add_done_callback(heard.append)
    waiting[0].cancel()
    assert heard == [waiting[0]]
    gate.touch()
    assert futures.wait([running, *waiting], timeout=20).not_done == set()
    assert len(list(futures.as_completed(waiting, timeout=20))) == 3
    assert [future.cancelled() for future in waiting] == [True, False, False]
    assert heard == [waiting[0]]


def test_an_error_that_leaves_the_with_block_waits_for_the_tasks(make_pool, task, tmp_path, marks):
    path = tmp_path / "runs"
    with pytest.raises(ZeroDivisionError), make_pool(1) as pool:
        for _ in range(5):
            pool.submit(task(tasks.mark), str(path))
        raise ZeroDivisionError
    assert marks(path) == 5


@pytest.mark.but("SerialPool")
def test_ctrl_c_that_leaves_the_with_block_drops_what_waits(make_pool, task, tmp_path, until, marks):
    gate, path = tmp_path / "gate", tmp_path / "runs"
    with pytest.raises(KeyboardInterrupt), make_pool(1) as pool:
        pool.submit(task(tasks.wait_for), str(path), str(gate))
        waiting = [pool.submit(task(tasks.mark), str(path)) for _ in range(5)]
        assert until(path.exists)
        raise KeyboardInterrupt
    assert all(future.done() for future in waiting)
    gate.touch()
    assert until(lambda: marks(path) == 1)


def test_a_pool_that_nobody_holds_runs_what_was_handed_in(kind, task, until):
    pool = getattr(whichever, kind)(**({"workers": 1} if kind == "Pool" else {"max_workers": 1}))
    handed_in = [pool.submit(task(tasks.square), item) for item in range(20)]
    gone = weakref.ref(pool)
    del pool
    gc.collect()
    assert until(lambda: gone() is None)
    assert [future.result() for future in handed_in] == [item * item for item in range(20)]


@pytest.mark.but("Pool")  # which runs tasks in the caller's thread too
def test_the_initializer_runs_before_the_tasks(make_pool, task):
    pool = make_pool(2, initializer=tasks.prepare, initargs=("ready",))
    assert list(pool.map(task(tasks.look), range(10))) == ["ready"] * 10


@pytest.mark.but("Pool")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_initializer_that_raises_breaks_the_pool_and_is_the_cause(make_pool, task):
    pool = make_pool(1, initializer=tasks.fail, initargs=("not prepared",))
    with pytest.raises(futures.BrokenExecutor) as caught:
        pool.submit(task(tasks.same), 1).result()
    assert isinstance(caught.value, whichever.PoolBrokenError)
    assert "not prepared" in str(caught.value.__cause__)
    with pytest.raises(whichever.PoolBrokenError):
        pool.submit(task(tasks.same), 1).result()


@pytest.mark.but("Pool")
@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"max_workers": 0}, ValueError, "max_workers must be greater than 0"),
        ({"max_workers": -1}, ValueError, "max_workers must be greater than 0"),
        ({"initializer": 3}, TypeError, "initializer must be a callable"),
    ],
)
def test_an_argument_out_of_range_is_refused_at_once(kind, arguments, error, words):
    with pytest.raises(error, match=words):
        getattr(whichever, kind)(**arguments)


def test_it_says_what_it_is(kind, make_pool):
    assert repr(make_pool(3)) == f"<{kind} max_workers=3>"


@pytest.mark.but("InterpreterPool", "Pool")
def test_options_are_a_view_of_the_pool(pool, task):
    view = pool.options(timeout=20)
    assert isinstance(view, futures.Executor)
    assert view.submit(task(tasks.square), 3).result() == 9
    assert list(view.map(task(tasks.square), [1, 2])) == [1, 4]
    view.shutdown()
    assert pool.submit(task(tasks.square), 3).result() == 9
    assert "timeout=20" in repr(view)
    with pytest.raises(ValueError, match="timeout must be above 0"):
        pool.options(timeout=0)
