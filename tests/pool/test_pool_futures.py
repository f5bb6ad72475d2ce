"""Futures of a pool to everybody who knows futures: wait, as_completed, callbacks, asyncio, copy."""

import asyncio
import copy
import gc
import pickle
import threading
import time
import weakref
from concurrent import futures

import pool_tasks as tasks
import pytest
from watching import until, written

import whichever


def test_the_state_goes_from_pending_over_running_to_finished(make_pool, tmp_path):
    pool = make_pool(1)
    gate, path = tmp_path / "gate", tmp_path / "runs"
    first = pool.submit(tasks.wait_for, str(path), str(gate))
    second = pool.submit(tasks.same, 2)
    assert until(first.running)
    assert (first.done(), second.running(), second.done()) == (False, False, False)
    assert "state=running" in repr(first)
    assert "state=pending" in repr(second)
    gate.touch()
    second.result()
    assert (first.running(), first.done(), first.cancelled()) == (False, True, False)
    assert "state=finished" in repr(first)


def test_result_and_exception_say_that_the_time_is_over_and_wait_again(make_pool, tmp_path):
    pool = make_pool(1)
    gate = tmp_path / "gate"
    future = pool.submit(tasks.wait_for, str(tmp_path / "runs"), str(gate))
    for look in (future.result, future.exception):
        for timeout in (0, 0.02):
            with pytest.raises(futures.TimeoutError):
                look(timeout)
    gate.touch()
    assert future.exception(20) is None
    assert isinstance(future.result(timeout=20), int)


def test_an_exception_is_the_same_object_each_time(pool):
    future = pool.submit(tasks.fail, "once")
    error = future.exception()
    with pytest.raises(ValueError, match="once") as caught:
        future.result()
    assert caught.value is error


def test_a_result_is_the_same_object_each_time(pool):
    future = pool.submit(list)
    assert future.result() is future.result()


@pytest.mark.parametrize("how", [futures.FIRST_COMPLETED, futures.FIRST_EXCEPTION, futures.ALL_COMPLETED])
def test_wait_returns_when_it_is_told_to(pool, tmp_path, how):
    gate = tmp_path / "gate"
    late = pool.submit(tasks.wait_for, str(tmp_path / "runs"), str(gate))
    if how == futures.ALL_COMPLETED:
        gate.touch()
    early = pool.submit(tasks.fail, "early")
    done, not_done = futures.wait([late, early], timeout=20, return_when=how)
    assert early in done
    assert (late in done, late in not_done) == (
        (True, False) if how == futures.ALL_COMPLETED else (False, True)
    )
    gate.touch()
    assert isinstance(late.result(), int)


def test_first_exception_waits_for_all_when_none_fails(pool):
    handed_in = [pool.submit(tasks.nap, seconds) for seconds in (0, 0.05, 0.02)]
    done, not_done = futures.wait(handed_in, return_when=futures.FIRST_EXCEPTION)
    assert (len(done), len(not_done)) == (3, 0)


def test_wait_and_as_completed_say_that_the_time_is_over(make_pool, tmp_path):
    pool = make_pool(1)
    gate = tmp_path / "gate"
    ended = pool.submit(tasks.same, 1)
    future = pool.submit(tasks.wait_for, str(tmp_path / "runs"), str(gate))
    ended.result()
    assert futures.wait([future, ended], timeout=0.02) == ({ended}, {future})
    seen = []
    with pytest.raises(futures.TimeoutError, match=r"1 \(of 2\) futures unfinished"):
        seen.extend(futures.as_completed([future, ended], timeout=0.02))
    gate.touch()
    assert future.result()


def test_as_completed_gives_each_future_once_and_as_it_ends(pool):
    handed_in = {pool.submit(tasks.nap, seconds): seconds for seconds in (0.25, 0.0, 0.05)}
    seen = [handed_in[future] for future in futures.as_completed([*handed_in, *handed_in])]
    assert seen[-1] == 0.25
    assert sorted(seen) == [0.0, 0.05, 0.25]


def test_futures_of_several_pools_and_of_threads_are_waited_for_together(make_pool, tmp_path):
    one, other = make_pool(1), make_pool(1)
    with futures.ThreadPoolExecutor(1) as threads:
        handed_in = [
            executor.submit(tasks.square, 10 * number + item)
            for item in range(5)
            for number, executor in enumerate((one, threads, other))
        ]
        assert {future.result() for future in futures.as_completed(handed_in, timeout=20)} == {
            (10 * number + item) ** 2 for number in range(3) for item in range(5)
        }
        gate = tmp_path / "gate"
        blocked = one.submit(tasks.wait_for, str(tmp_path / "runs"), str(gate))
        for executor in (threads, other):
            quick = executor.submit(tasks.nap, 0.02)
            done, _ = futures.wait([blocked, quick], timeout=20, return_when=futures.FIRST_COMPLETED)
            assert done == {quick}
        gate.touch()
        last = threads.submit(until, blocked.done)
        assert futures.wait([last, blocked], timeout=20).not_done == set()


def test_wait_sees_cancelled_futures(make_pool, tmp_path):
    pool = make_pool(1)
    gate = tmp_path / "gate"
    running = pool.submit(tasks.wait_for, str(tmp_path / "runs"), str(gate))
    queued = pool.submit(tasks.same, 1)
    assert queued.cancel()
    assert futures.wait([queued], timeout=20).done == {queued}
    assert list(futures.as_completed([queued], timeout=20)) == [queued]
    gate.touch()
    running.result()


def test_callbacks_run_in_their_order_with_the_future_and_an_error_in_one_stops_none(pool, tmp_path, caplog):
    gate = tmp_path / "gate"
    future = pool.submit(tasks.wait_for, str(tmp_path / "runs"), str(gate))
    seen = []
    future.add_done_callback(lambda ended: seen.append(("first", ended)))
    future.add_done_callback(lambda ended: ended.no_such_thing)
    future.add_done_callback(lambda ended: seen.append(("last", ended)))
    gate.touch()
    assert until(lambda: len(seen) == 2)
    assert seen == [("first", future), ("last", future)]
    assert "exception calling callback" in caplog.text
    future.add_done_callback(lambda ended: seen.append("late"))
    assert seen[-1] == "late"


def test_a_callback_is_called_though_nobody_waits(pool):
    called = threading.Event()
    pool.submit(tasks.nap, 0.02).add_done_callback(lambda _future: called.set())
    assert called.wait(15)


def test_a_callback_that_was_added_by_a_waiting_thread_is_called_once(pool):
    seen = []
    handed_in = [pool.submit(tasks.same, number) for number in range(200)]
    for future in handed_in:
        future.add_done_callback(lambda ended: seen.append(ended.result()))
    futures.wait(handed_in)
    assert until(lambda: len(seen) == 200)
    assert sorted(seen) == list(range(200))


def test_a_callback_may_hand_in_more(pool):
    ended = threading.Event()
    values = []

    def go_on(future):
        values.append(future.result())
        if len(values) < 20:
            pool.submit(tasks.add, values[-1], 1).add_done_callback(go_on)
        else:
            ended.set()

    pool.submit(tasks.same, 0).add_done_callback(go_on)
    assert ended.wait(15)
    assert values == list(range(20))


def test_a_callback_may_wait_for_another_task(pool):
    found = []
    future = pool.submit(tasks.same, 4)
    future.add_done_callback(lambda ended: found.append(pool.submit(tasks.square, ended.result()).result(15)))
    assert until(lambda: found == [16])


def test_cancelling_a_queued_task_calls_back_and_it_never_runs(make_pool, tmp_path):
    pool = make_pool(1)
    gate = tmp_path / "gate"
    running = pool.submit(tasks.wait_for, str(tmp_path / "runs"), str(gate))
    future = pool.submit(tasks.mark, str(tmp_path / "ran"))
    seen = []
    future.add_done_callback(seen.append)
    assert future.cancel()
    assert future.cancel()
    assert seen == [future]
    with pytest.raises(futures.CancelledError):
        future.result()
    with pytest.raises(futures.CancelledError):
        future.exception()
    assert "state=cancelled" in repr(future)
    gate.touch()
    running.result()
    pool.shutdown()
    assert not (tmp_path / "ran").exists()


def test_a_task_that_has_ended_cannot_be_cancelled(pool):
    future = pool.submit(tasks.same, 1)
    future.result()
    assert not future.cancel()
    assert future.result() == 1


def test_a_future_refuses_to_be_pickled_or_copied_and_to_be_sent(pool):
    future = pool.submit(tasks.same, 1)
    for refuse in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            refuse(future)
    with pytest.raises(TypeError):
        pool.submit(tasks.same, future).result()
    assert future.result() == 1


def test_a_future_that_nobody_holds_is_not_kept(pool):
    future = pool.submit(tasks.same, 1)
    future.result()
    gone = weakref.ref(future)
    del future
    gc.collect()
    assert gone() is None


def test_a_future_that_nobody_holds_still_runs_its_callback(make_pool):
    pool = make_pool(1)
    seen = []
    pool.submit(tasks.nap, 0.05).add_done_callback(lambda future: seen.append(future.result()))
    gc.collect()
    assert until(lambda: seen == [0.05])


def test_a_future_can_be_made_and_settled_by_hand():
    future = whichever.Future()
    assert future.set_running_or_notify_cancel()
    timer = threading.Timer(0.02, future.set_result, [5])
    timer.start()
    assert future.result(15) == 5
    with pytest.raises(futures.InvalidStateError):
        future.set_result(6)
    failed = whichever.Future()
    failed.set_exception(KeyError("x"))
    assert isinstance(failed.exception(), KeyError)
    timer.join()


def test_ten_threads_may_wait_for_one_future(pool, tmp_path):
    gate = tmp_path / "gate"
    future = pool.submit(tasks.wait_for, str(tmp_path / "runs"), str(gate))
    with futures.ThreadPoolExecutor(10) as threads:
        waiting = [threads.submit(future.result, 20) for _ in range(10)]
        gate.touch()
        assert len({each.result(20) for each in waiting}) == 1


def test_run_in_executor_gives_results_and_errors(pool):
    async def main():
        loop = asyncio.get_running_loop()
        results = await asyncio.gather(
            *(loop.run_in_executor(pool, tasks.square, item) for item in range(100))
        )
        with pytest.raises(ValueError, match="asked"):
            await loop.run_in_executor(pool, tasks.fail, "asked")
        return results

    assert asyncio.run(main()) == [item * item for item in range(100)]


def test_the_event_loop_turns_while_a_task_runs(pool, tmp_path):
    gate = tmp_path / "gate"

    async def main():
        future = asyncio.wrap_future(pool.submit(tasks.wait_for, str(tmp_path / "runs"), str(gate)))
        turns = 0
        while not future.done():
            await asyncio.sleep(0.001)
            turns += 1
            if turns == 5:
                gate.touch()
        return turns

    assert asyncio.run(main()) >= 5


def test_cancelling_an_awaited_task_stops_it(make_pool, tmp_path):
    pool = make_pool(1)
    path = tmp_path / "runs"

    async def main():
        awaited = asyncio.create_task(_await(asyncio.wrap_future(pool.submit(tasks.spin, str(path)))))
        assert await asyncio.to_thread(until, written(path))
        awaited.cancel()
        with pytest.raises(asyncio.CancelledError):
            await awaited

    asyncio.run(main())
    assert pool.submit(tasks.same, "free").result(15) == "free"
    assert until(lambda: pool.statistics().cancelled == 1)


async def _await(future):
    return await future


def test_wait_for_gives_up_in_time_and_stops_the_task(make_pool, tmp_path):
    pool = make_pool(1)

    async def main():
        loop = asyncio.get_running_loop()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(loop.run_in_executor(pool, tasks.spin, str(tmp_path / "runs")), 0.2)

    begun = time.monotonic()
    asyncio.run(main())
    assert pool.submit(tasks.same, "free").result(15) == "free"
    assert time.monotonic() - begun < 5


def test_what_was_set_by_hand_may_use_the_pool_when_it_goes(start):
    program = start("""
        import os, time, whichever
        pool = whichever.ProcessPool(1)
        ends = []
        class Last:
            def __del__(self):
                ends.append(pool.statistics().submitted)
        for number in range(200):
            future = pool.submit(time.sleep, 0.002)
            future.set_result(Last())
            del future
            time.sleep(0.001 * (number % 8))  # the next submit may find the end of the task, or not
            pool.submit(os.getpid)
        pool.shutdown()
        print(len(ends))
    """)
    assert program.finish() == ("200\n", "", 0)


def test_a_lock_of_a_future_that_was_left_held_holds_up_no_other_task(make_pool, tmp_path):
    pool, gate = make_pool(1), tmp_path / "gate"
    future = pool.submit(tasks.wait_for, tmp_path / "runs", gate)
    assert futures.wait([future], timeout=0.001).not_done  # from now on waiters are told of its end
    keeper = threading.Thread(target=future._condition.acquire)  # as a Ctrl-C inside `wait` leaves it
    keeper.start()
    keeper.join()
    gate.touch()
    called = threading.Event()
    pool.submit(abs, -1).add_done_callback(lambda _: called.set())
    assert called.wait(20)
    pool.shutdown()
    assert future.done()


def test_waiters_are_told_of_an_end_that_came_while_the_lock_was_held(make_pool, tmp_path):
    pool, gate = make_pool(1), tmp_path / "gate"
    future = pool.submit(tasks.wait_for, tmp_path / "runs", gate)
    told = []
    waiter = threading.Thread(target=lambda: told.append(futures.wait([future], 20)))
    waiter.start()
    assert until(lambda: future._waiters)
    with future._condition:
        gate.touch()
        assert until(future.done)
    waiter.join()
    assert told == [({future}, set())]
