"""Futures of threads and futures made by hand, as everybody who knows the standard one uses them."""

import asyncio
import threading
from concurrent import futures

import pytest
from threads_waiting import until

import whichever


def test_a_future_is_pending_running_finished(make_pool):
    pool, gate = make_pool(1), threading.Event()
    first, second = pool.submit(gate.wait, 20), pool.submit(abs, 2)
    assert until(first.running)
    assert (first.done(), second.running(), second.done()) == (False, False, False)
    assert ("state=running" in repr(first), "state=pending" in repr(second)) == (True, True)
    assert not first.cancel()
    gate.set()
    assert second.result() == 2
    assert first.done()
    assert "state=finished returned bool" in repr(first)


def test_a_cancelled_task_never_runs_and_everybody_hears_of_it_at_once(make_pool):
    pool, gate, ran, called = make_pool(1), threading.Event(), [], []
    first = pool.submit(gate.wait, 20)
    second = pool.submit(ran.append, 1)
    second.add_done_callback(called.append)
    waiting = threading.Thread(target=lambda: called.extend(futures.wait([second], 20).done))
    waiting.start()
    assert second.cancel()
    assert second.cancel()
    waiting.join()
    assert called == [second, second]
    gate.set()
    assert first.result()
    pool.shutdown()
    assert not ran
    with pytest.raises(futures.CancelledError):
        second.result()


def test_of_many_that_cancel_and_many_that_run_each_future_has_one_end(make_pool):
    pool, ran = make_pool(4), []
    handed_in = [pool.submit(ran.append, number) for number in range(4000)]
    cancelled = {number for number, future in reversed(list(enumerate(handed_in))) if future.cancel()}
    futures.wait(handed_in)
    assert sorted(ran) == [number for number in range(4000) if number not in cancelled]
    assert all(future.cancelled() == (number in cancelled) for number, future in enumerate(handed_in))


def test_callbacks_come_in_order_and_once_whenever_they_are_added(make_pool):
    pool = make_pool(2)

    def called(future):
        seen = []
        for number in range(5):
            future.add_done_callback(lambda _future, number=number: seen.append(number))
        assert until(lambda: len(seen) == 5)
        return seen

    for _ in range(300):
        assert sorted(called(pool.submit(abs, 1))) == list(range(5))
    gate = threading.Event()
    future = pool.submit(gate.wait, 20)
    timer = threading.Timer(0.02, gate.set)
    timer.start()
    assert called(future) == list(range(5))
    timer.join()


def test_who_waits_for_several_is_woken_however_wait_and_end_meet(make_pool):
    pool = make_pool(2)
    for _ in range(300):
        handed_in = [pool.submit(abs, number) for number in range(3)]
        assert len(futures.wait(handed_in, 20).done) == 3
        assert set(futures.as_completed(handed_in, 20)) == set(handed_in)


def test_many_threads_wait_for_one_future(pool):
    gate = threading.Event()
    future = pool.submit(gate.wait, 20)
    with futures.ThreadPoolExecutor(20) as others:
        waiting = [others.submit(future.result, 20) for _ in range(20)]
        gate.set()
        assert all(each.result() for each in waiting)


def test_futures_of_threads_processes_and_the_standard_pool_are_waited_for_together(pool):
    with futures.ThreadPoolExecutor(1) as standard, whichever.ProcessPool(1) as processes:
        handed_in = [each.submit(abs, -number) for number in range(5) for each in (pool, standard, processes)]
        assert len(futures.wait(handed_in, 20).done) == 15
        assert {future.result() for future in futures.as_completed(handed_in, 20)} == set(range(5))


def test_asyncio_gets_results_and_errors(pool):
    async def main():
        loop = asyncio.get_running_loop()
        results = await asyncio.gather(*(loop.run_in_executor(pool, abs, -item) for item in range(200)))
        with pytest.raises(TypeError):
            await loop.run_in_executor(pool, abs, "x")
        return results

    assert asyncio.run(main()) == list(range(200))


def test_a_result_is_waited_for_in_a_task(make_pool):
    pool = make_pool(2)
    assert pool.submit(lambda: pool.submit(abs, -3).result()).result(20) == 3


def test_a_future_made_by_hand_wakes_whoever_waits_for_it():
    for settle in (
        lambda future: future.set_result(5),
        lambda future: future.set_exception(KeyError()),
        lambda future: future.cancel(),
    ):
        for wait in (lambda future: future.exception(20), lambda future: futures.wait([future], 20)):
            future = whichever.Future()
            ended = []
            thread = threading.Thread(target=lambda: ended.append(_caught(wait, future)))  # noqa: B023 - joined below
            thread.start()
            settle(future)
            assert future.done()
            if future.cancelled():
                assert not future.set_running_or_notify_cancel()  # which tells who waits for several
            thread.join(20)
            assert not thread.is_alive()


def _caught(wait, future):
    try:
        return wait(future)
    except futures.CancelledError as error:
        return error


def test_the_states_of_a_future_made_by_hand_are_those_of_the_standard_one(caplog):
    seen = []
    future = whichever.Future()
    future.add_done_callback(seen.append)
    assert future.set_running_or_notify_cancel()
    assert future.running()
    assert not future.cancel()
    with pytest.raises(futures.InvalidStateError):
        future.set_running_or_notify_cancel()
    assert "in unexpected state" in caplog.text
    future.set_result(5)
    assert seen == [future]
    for settle in (future.set_result, future.set_exception):
        with pytest.raises(futures.InvalidStateError, match=r"FINISHED: <Future at .* returned int>"):
            settle(6)


def test_waiters_of_a_cancelled_future_are_told_when_somebody_takes_notice():
    future, seen = whichever.Future(), []
    future.add_done_callback(seen.append)
    assert future.cancel()
    assert seen == [future]
    assert futures.wait([future], 0.01).not_done == {future}
    assert not future.set_running_or_notify_cancel()
    assert futures.wait([future], 0.01).done == {future}


def test_a_timeout_ends_a_wait_and_another_wait_goes_on(make_pool):
    pool, gate = make_pool(1), threading.Event()
    future = pool.submit(gate.wait, 20)
    for look in (future.result, future.exception):
        for timeout in (0, 0.01, -1):
            with pytest.raises(futures.TimeoutError):
                look(timeout)
    gate.set()
    assert future.result(20)
