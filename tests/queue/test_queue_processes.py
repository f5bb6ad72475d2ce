"""Queues that cross: into workers of a pool, into processes of multiprocessing, by every start method."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import gc
import multiprocessing
import os
import pickle
import threading

import numpy as np
import pytest
import queue_tasks
from queue_tasks import Thing, thread

from whichever import ProcessPool, Queue, QueueClosed

BOUND_S = 60
METHODS = ["fork", "spawn", "forkserver"]
fork_beside_threads = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


@pytest.fixture(scope="module")
def pool():
    with ProcessPool(2) as made:
        yield made


def start(context, function, *arguments):
    process = context.Process(target=function, args=arguments, daemon=True)
    process.start()
    return process


def end(process):
    process.join(BOUND_S)
    assert process.exitcode == 0
    process.close()


@fork_beside_threads
@pytest.mark.parametrize("method", METHODS)
def test_items_go_to_a_process_of_multiprocessing_and_back(method):
    context = multiprocessing.get_context(method)
    there, back = Queue(10), Queue()
    there.put("before")  # what is in it moves along
    process = start(context, queue_tasks.get_all, there, back)
    items = ["before", 1, None, 2.5, b"x" * 100_000, ("a", (1, 2)), [1, {"k": Thing(3)}], 1 << 100]
    for item in items[1:]:
        there.put(item, timeout=BOUND_S)
    there.close()
    got = [back.get(timeout=BOUND_S) for _ in items]
    assert got == items
    assert back.get(timeout=BOUND_S)[0] == "end"
    assert there.join(timeout=BOUND_S)
    assert there.statistics().shared
    end(process)


def test_items_go_to_workers_of_a_pool_and_back(pool):
    queue = Queue(4)
    putter = pool.submit(queue_tasks.put_all, queue, list(range(100)))
    assert [queue.get(timeout=BOUND_S) for _ in range(100)] == list(range(100))
    assert putter.result() is None


def test_a_queue_that_nobody_here_keeps_reaches_its_worker(pool):
    queue = Queue()
    queue.put("kept")
    future = pool.submit(queue_tasks.take, queue, 1)
    del queue
    gc.collect()
    assert future.result(BOUND_S) == ["kept"]


def test_a_queue_that_comes_back_is_the_same_object():
    queue = Queue()
    assert pickle.loads(pickle.dumps(queue)) is queue


def test_a_queue_may_travel_inside_a_queue(pool):
    outer, inner = Queue(), Queue()
    outer.put(inner)
    got = pool.submit(queue_tasks.take, outer, 1)
    assert isinstance(got.result(BOUND_S)[0], Queue)


def test_arrays_arrive_equal_and_writable(pool):
    queue = Queue()
    array = np.arange(200_000, dtype="i8").reshape(100, -1)
    pool.submit(queue_tasks.put_all, queue, [array, b"y" * 3_000_000, [b"z" * 70_000] * 2])
    got = queue.get(timeout=BOUND_S)
    assert (got == array).all()
    got[0, 0] = 7
    assert queue.get(timeout=BOUND_S) == b"y" * 3_000_000
    assert queue.get(timeout=BOUND_S) == [b"z" * 70_000] * 2


def test_what_only_this_program_has_goes_as_code(pool):
    queue = Queue()
    queue.put(lambda: 42)
    (function,) = pool.submit(queue_tasks.take, queue, 1).result(BOUND_S)
    assert function() == 42


def test_an_item_that_does_not_pickle_keeps_the_queue_as_it_was():
    queue = Queue()
    lock = threading.Lock()
    queue.put(lock)
    with pytest.raises(TypeError, match="pickle"):
        pickle.dumps(queue)
    assert not queue.statistics().shared
    assert queue.get() is lock
    queue._share()
    with pytest.raises(TypeError, match="pickle"):
        queue.put(lock)
    assert queue.empty()


def test_who_waits_when_it_becomes_shared_goes_on_waiting_there(until):
    queue, full, got = Queue(), Queue(1), Queue()
    full.put("first")
    getter = thread(lambda: got.put(queue.get()))
    putter = thread(full.put, "second")
    until(lambda: queue.statistics().get_waits and full.statistics().put_waits)
    queue._share()
    full._share()
    queue.put("item")
    assert got.get(timeout=BOUND_S) == "item"
    assert [full.get(timeout=BOUND_S) for _ in range(2)] == ["first", "second"]
    getter.join(BOUND_S)
    putter.join(BOUND_S)


def test_tasks_that_wait_when_it_becomes_shared_go_on_waiting_there():
    async def main():
        queue = Queue()
        getter = asyncio.create_task(queue.aget())
        await asyncio.sleep(0)
        queue._share()
        await asyncio.to_thread(queue.put, "item")
        return await getter

    assert asyncio.run(asyncio.wait_for(main(), BOUND_S)) == "item"


def test_unfinished_items_are_counted_across_the_crossing(pool):
    queue = Queue()
    for number in range(3):
        queue.put(number)
    queue.get()
    queue._share()
    assert queue.unfinished_tasks == 3
    pool.submit(queue_tasks.take, queue, 2).result(BOUND_S)
    for _ in range(3):
        queue.task_done()
    assert queue.join(timeout=0)


@fork_beside_threads
def test_a_process_that_closes_it_ends_the_others():
    context = multiprocessing.get_context("fork")
    queue = Queue()
    process = start(context, queue_tasks.close, queue)
    with pytest.raises(QueueClosed):
        queue.get(timeout=BOUND_S)
    assert list(queue) == []
    end(process)


@fork_beside_threads
def test_processes_threads_and_tasks_share_one_queue():
    context = multiprocessing.get_context("fork")
    queue, got = Queue(8), Queue()
    producers = [start(context, queue_tasks.put_all, queue, range(n, n + 300)) for n in (0, 1000)]
    consumers = [start(context, queue_tasks.get_all, queue, got) for _ in range(2)]
    threads = [thread(queue_tasks.put_all, queue, range(2000, 2300)), thread(queue_tasks.get_all, queue, got)]

    async def consume():
        async for item in queue:
            await got.aput(item)
            queue.task_done()

    loop = thread(asyncio.run, consume())
    for producer in producers:
        end(producer)
    threads[0].join(BOUND_S)
    queue.close()
    assert queue.join(timeout=BOUND_S)
    for consumer in consumers:
        end(consumer)
    threads[1].join(BOUND_S)
    loop.join(BOUND_S)
    got.close()
    items = collections.Counter(item for item in got if not isinstance(item, tuple))
    assert items == collections.Counter([*range(300), *range(1000, 1300), *range(2000, 2300)])


@fork_beside_threads
def test_a_queue_that_a_fork_has_copied_says_so():
    queue, answers = Queue(), Queue()
    hidden = type("Holder", (), {})()
    hidden.queue = queue

    def child():
        queue_tasks.use_inherited(hidden.queue, answers)

    process = start(multiprocessing.get_context("fork"), _call, child, answers)
    assert "pass the queue to the process as an argument" in answers.get(timeout=BOUND_S)
    end(process)
    queue.put(1)
    assert queue.get() == 1


def _call(function, _queue):
    function()


def test_an_address_of_a_queue_that_is_gone_is_a_clear_error(pool):
    queue = Queue()
    address = list(queue._cross())
    address[1] = os.open(os.devnull, os.O_RDONLY)
    try:
        with pytest.raises(OSError, match="is gone or out of reach"):
            Queue()._adopt(tuple(address))
    finally:
        os.close(address[1])


def test_shared_queues_leave_no_descriptor_and_no_file():
    def descriptors():
        count = 0
        for number in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):
                count += "whichever-queue" in os.readlink(f"/proc/self/fd/{number}")
        return count

    Queue()._share()
    gc.collect()
    before = descriptors()
    for _ in range(200):
        queue = Queue()
        queue._share()
        queue.put(1)
    del queue
    gc.collect()
    assert descriptors() <= before


def test_memory_of_a_burst_is_used_again():
    queue = Queue()
    queue._share()
    for _ in range(20):
        for _ in range(8):
            queue.put(b"x" * 100_000)
        for _ in range(8):
            queue.get()
    assert queue.statistics().shared_bytes <= 4_000_000
