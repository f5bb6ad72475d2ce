"""Asyncio tasks and threads at one queue: woken in batches, cancelled without loss, on several loops at once."""

from __future__ import annotations

import asyncio
import collections

import pytest
from queue_tasks import thread

from whichever import LifoQueue, PriorityQueue, Queue, QueueClosed

BOUND_S = 30


@pytest.fixture(params=["near", "shared"])
def make(request):
    """Make queues that are in this process, or in shared memory."""

    def queue(maxsize=0):
        made = Queue(maxsize)
        if request.param == "shared":
            made._share()
        return made

    return queue


def run(main):
    return asyncio.run(asyncio.wait_for(main, BOUND_S))


def test_a_task_waits_for_a_thread_and_a_thread_for_a_task(make):
    there, back = make(), make()

    def echo():
        for item in there:
            back.put(item + 1)
        back.close()

    async def main():
        worker = thread(echo)
        got = []
        for number in range(50):
            await there.aput(number)
            got.append(await back.aget())
        there.close()
        assert [item async for item in back] == []
        await asyncio.to_thread(worker.join, BOUND_S)
        return got

    assert run(main()) == list(range(1, 51))


@pytest.mark.parametrize("kind", [Queue, LifoQueue, PriorityQueue])
def test_tasks_of_one_loop_share_the_items(kind):
    async def main():
        queue, got = kind(3), collections.Counter()

        async def consume():
            async for item in queue:
                got[item] += 1
                await asyncio.sleep(0)

        async with asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(consume())
            for number in range(500):
                await queue.aput(number)
            queue.close()
        return got

    assert run(main()) == collections.Counter(range(500))


def test_a_full_queue_makes_tasks_wait_in_turn(make):
    async def main():
        queue = make(1)
        putters = [asyncio.create_task(queue.aput(number)) for number in range(20)]
        await asyncio.sleep(0)
        got = [await queue.aget() for _ in range(20)]
        await asyncio.gather(*putters)
        return got

    assert sorted(run(main())) == list(range(20))


def test_a_getter_that_is_cancelled_after_it_was_woken_loses_nothing():
    async def main():
        queue = Queue()
        first, second = (asyncio.create_task(queue.aget()) for _ in range(2))
        await asyncio.sleep(0)
        queue.put("item")  # wakes the first, which has not run yet
        first.cancel()
        await asyncio.wait({first, second})
        return first.cancelled(), second.result()

    assert run(main()) == (True, "item")


def test_a_getter_that_is_cancelled_while_it_sleeps_loses_nothing(make):
    async def main():
        queue = make()
        getters = [asyncio.create_task(queue.aget()) for _ in range(4)]
        await asyncio.sleep(0)
        for number, getter in enumerate(getters[:3]):
            await asyncio.to_thread(queue.put, number)
            getter.cancel()
        await asyncio.wait(getters[:3])
        got = [getter.result() for getter in getters[:3] if not getter.cancelled()]
        getters[3].cancel()
        await asyncio.wait(getters)
        if not getters[3].cancelled():
            got.append(getters[3].result())
        while not queue.empty():
            got.append(queue.get_nowait())
        return got

    assert sorted(run(main())) == [0, 1, 2]


def test_cancelling_a_woken_putter_lets_the_next_one_in():
    async def main():
        queue = Queue(1)
        queue.put(0)
        first, second = (asyncio.create_task(queue.aput(n)) for n in (1, 2))
        await asyncio.sleep(0)
        queue.get()  # wakes the first, which has not run yet
        first.cancel()
        await asyncio.wait({first, second})
        return first.cancelled(), queue.get_nowait()

    assert run(main()) == (True, 2)


def test_timeouts_of_getters_lose_nothing(make):
    async def main():
        queue, got = make(), []

        async def impatient():
            while True:
                try:
                    async with asyncio.timeout(0.001):
                        item = await queue.aget()
                        got.append(item)
                except TimeoutError:
                    continue
                except QueueClosed:
                    return

        getters = [asyncio.create_task(impatient()) for _ in range(4)]
        for number in range(200):
            queue.put(number)
            await asyncio.sleep(0.0007 if number % 3 else 0)
        queue.close()
        await asyncio.gather(*getters)
        return got

    assert sorted(run(main())) == list(range(200))


def test_loops_in_several_threads_share_the_items(make):
    queue, got = make(5), Queue()

    async def consume():
        async for item in queue:
            got.put(item)

    loops = [thread(asyncio.run, consume()) for _ in range(3)]
    for number in range(600):
        queue.put(number, timeout=BOUND_S)
    queue.close()
    for loop in loops:
        loop.join(BOUND_S)
    got.close()
    assert collections.Counter(got) == collections.Counter(range(600))


def test_a_loop_that_is_closed_with_waiting_tasks_is_forgotten(make):
    queue = make()
    loop = asyncio.new_event_loop()
    task = loop.create_task(queue.aget())
    loop.run_until_complete(asyncio.sleep(0))
    task.cancel()
    loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
    loop.close()
    queue.put(1)
    assert queue.get(timeout=BOUND_S) == 1


def test_a_batch_of_items_calls_the_loop_once():
    async def main():
        queue, calls = Queue(), []
        loop = asyncio.get_running_loop()
        getters = [asyncio.create_task(queue.aget()) for _ in range(10)]
        await asyncio.sleep(0)
        call = loop.call_soon_threadsafe

        def counted(callback, *arguments, **options):
            if getattr(callback, "__name__", "") == "_look":
                calls.append(callback)
            return call(callback, *arguments, **options)

        loop.call_soon_threadsafe = counted
        # in another thread, while this one keeps the loop busy
        putter = thread(lambda: [queue.put(number) for number in range(10)])
        putter.join(BOUND_S)
        got = await asyncio.gather(*getters)
        return got, len(calls)

    got, calls = run(main())
    assert sorted(got) == list(range(10))
    assert calls == 1


def test_ajoin_waits_for_the_last_task_done(make):
    async def main():
        queue = make()
        await queue.aput(1)
        joined = asyncio.create_task(queue.ajoin())
        await asyncio.sleep(0)
        assert not joined.done()
        await queue.aget()
        queue.task_done()
        await joined
        await queue.ajoin()

    run(main())


def test_closing_ends_tasks_that_wait(make):
    async def main():
        queue, full = make(), make(1)
        full.put(0)
        waits = [asyncio.create_task(wait) for wait in (queue.aget(), queue.aget(), full.aput(1))]
        await asyncio.sleep(0)
        queue.close()
        full.close()
        return await asyncio.gather(*waits, return_exceptions=True)

    assert [type(end) for end in run(main())] == [QueueClosed] * 3
