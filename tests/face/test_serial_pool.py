"""What `SerialPool` alone promises: everything happens here and now."""

import asyncio
import bdb
import inspect
import threading
from concurrent import futures

import face_tasks as tasks
import pytest

import whichever


def test_a_task_runs_inside_submit_in_the_callers_thread():
    with whichever.SerialPool() as pool:
        future = pool.submit(lambda: (threading.current_thread(), inspect.stack()[1:]))
        assert future.done()
        thread, stack = future.result()
    assert thread is threading.current_thread()
    assert inspect.currentframe().f_code in [frame.frame.f_code for frame in stack]


def test_a_map_runs_a_task_when_its_result_is_asked_for():
    ran = []
    with whichever.SerialPool() as pool:
        results = pool.map(ran.append, [1, 2, 3])
        assert ran == []
        next(results)
        assert ran == [1]
    assert ran == [1, 2, 3]  # the rest at shutdown, as other pools end what they took in


def test_an_error_of_a_map_is_seen_before_anything_else_runs():
    ran = []

    def task(item):
        ran.append(item)
        return 1 / item

    with whichever.SerialPool() as pool, pytest.raises(ZeroDivisionError):
        list(pool.map(task, [1, 0, 2, 3]))
    assert ran == [1, 0]


def test_shutdown_that_cancels_runs_nothing_more():
    ran = []
    pool = whichever.SerialPool()
    results = pool.map(ran.append, [1, 2, 3])
    pool.shutdown(cancel_futures=True)
    with pytest.raises(futures.CancelledError):
        next(results)
    assert ran == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, bdb.BdbQuit])
def test_wishes_to_leave_go_through_submit_and_leave_a_pool_that_works(error):
    def leave():
        raise error

    pool = whichever.SerialPool()
    with pytest.raises(error):
        pool.submit(leave)
    with pytest.raises(error):
        next(pool.map(lambda _: leave(), [1]))
    assert pool.submit(tasks.same, 1).result() == 1


def test_what_other_pools_take_is_taken_and_what_none_takes_is_not():
    for name in ("ProcessPool", "ThreadPool", "AsyncPool", "InterpreterPool"):
        if name in whichever.__all__:
            parameters = set(inspect.signature(getattr(whichever, name)).parameters)
            whichever.SerialPool(2, **dict.fromkeys(parameters - {"max_workers", "initializer", "initargs"}))
    with pytest.raises(TypeError, match="no pool takes the argument 'max_wokers'"):
        whichever.SerialPool(max_wokers=3)


def test_coroutine_functions_are_awaited_on_one_loop():
    async def where():
        await asyncio.sleep(0)
        return asyncio.get_running_loop(), tasks.tag.get()

    token = tasks.tag.set("here")
    with whichever.SerialPool() as pool:
        first, second = pool.submit(where).result(), pool.submit(where).result()
    tasks.tag.reset(token)
    assert first == second
    assert first[1] == "here"
    assert first[0].is_closed()


def test_coroutine_functions_are_refused_where_a_loop_runs():
    async def task():
        return 1

    async def main():
        return whichever.SerialPool().submit(task).exception()

    error = asyncio.run(main())
    assert isinstance(error, RuntimeError)
    assert "await it there" in str(error)


def test_a_failed_task_leaves_no_circle_behind():
    import gc
    import weakref

    class FoundError(Exception):
        pass

    def fail():
        raise FoundError

    gc.disable()
    try:
        future = whichever.SerialPool().submit(fail)
        watched = weakref.ref(future.exception())
        del future
        assert watched() is None
    finally:
        gc.enable()


def test_a_map_keeps_its_order_when_the_pool_is_shut_down_in_another_thread():
    pool, begun, gate, read = whichever.SerialPool(), threading.Event(), threading.Event(), []

    def task(number):
        if number == 1:
            begun.set()
            assert gate.wait(20)
        return number

    results = pool.map(task, [1, 2, 3])
    closer = threading.Thread(target=pool.shutdown)
    closer.start()
    assert begun.wait(20)
    reader = threading.Thread(target=lambda: read.extend(results))
    reader.start()
    reader.join(0.2)  # time enough to run 2 out of its turn
    gate.set()
    reader.join(20)
    closer.join(20)
    assert read == [1, 2, 3]


def test_what_shutdown_was_told_to_cancel_is_not_warned_of():
    pool, ran = whichever.SerialPool(), []
    results = pool.map(ran.append, [1, 2, 3])
    pool.shutdown(cancel_futures=True)
    del results
    assert ran == []
