"""Threads that wait for each other: nothing lost, nothing twice, nobody forgotten."""

from __future__ import annotations

import collections
import threading

import pytest
from program import Program
from queue_tasks import thread

from whichever import LifoQueue, PriorityQueue, Queue, QueueClosed, QueueEmpty

JOIN_S = 60


@pytest.mark.parametrize("kind", [Queue, LifoQueue, PriorityQueue])
@pytest.mark.parametrize("maxsize", [0, 1, 7])
def test_every_item_reaches_one_consumer(kind, maxsize):
    queue, got = kind(maxsize), collections.Counter()
    merged = threading.Lock()

    def consume():
        own = list(queue)
        with merged:
            got.update(own)

    consumers = [thread(consume) for _ in range(3)]
    producers = [
        thread(lambda first: [queue.put(n) for n in range(first, first + 700)], first)
        for first in (0, 1000, 2000)
    ]
    for producer in producers:
        producer.join(JOIN_S)
    queue.close()
    for consumer in consumers:
        consumer.join(JOIN_S)
    expected = [n for first in (0, 1000, 2000) for n in range(first, first + 700)]
    assert got == collections.Counter(expected)


def test_one_producer_is_heard_in_order():
    queue = Queue(3)
    producer = thread(lambda: [queue.put(n) for n in range(2000)])
    assert [queue.get(timeout=JOIN_S) for _ in range(2000)] == list(range(2000))
    producer.join(JOIN_S)


def test_a_full_queue_makes_the_producer_wait(until):
    queue = Queue(2)
    producer = thread(lambda: [queue.put(n) for n in range(5)])
    until(lambda: queue.statistics().put_waits >= 1)
    assert queue.qsize() == 2
    assert [queue.get(timeout=JOIN_S) for _ in range(5)] == list(range(5))
    producer.join(JOIN_S)
    assert queue.statistics().most == 2


def test_one_place_is_enough_to_let_a_producer_in(until):
    """However large the queue: nobody waits for it to be half empty."""
    queue = Queue(100)
    for n in range(100):
        queue.put(n)
    producer = thread(queue.put, 100)
    until(lambda: queue.statistics().put_waits >= 1)
    assert queue.get() == 0
    producer.join(JOIN_S)
    assert queue.qsize() == 100


def test_closing_wakes_everybody_who_waits(until):
    queue, full, ends = Queue(), Queue(1), Queue()
    full.put(1)

    def ended(wait):
        try:
            wait()
        except QueueClosed:
            ends.put("closed")

    waiters = [thread(ended, queue.get) for _ in range(3)] + [thread(ended, lambda: full.put(2))]
    until(lambda: queue.statistics().get_waits >= 3 and full.statistics().put_waits >= 1)
    queue.close()
    full.close()
    assert [ends.get(timeout=JOIN_S) for _ in waiters] == ["closed"] * 4


def test_a_timeout_beside_a_waiter_leaves_it_its_wake(until):
    queue, got = Queue(), Queue()
    waiter = thread(lambda: got.put(queue.get()))
    until(lambda: queue.statistics().get_waits >= 1)
    with pytest.raises(QueueEmpty):
        queue.get(timeout=0.02)
    queue.put("for the waiter")
    assert got.get(timeout=JOIN_S) == "for the waiter"
    waiter.join(JOIN_S)


def test_join_returns_when_the_last_item_is_done(until):
    queue = Queue()
    queue.put(1)
    joined = thread(queue.join)
    queue.get()
    queue.task_done()
    joined.join(JOIN_S)
    assert not joined.is_alive()


@pytest.mark.parametrize(
    "wait", ["queue.get()", "full.put(1)", "full.join()", "next(queue)", "shared.get()", "shared.join()"]
)
def test_one_ctrl_c_ends_a_wait(tmp_path, wait):
    text = f"""
        import signal, whichever
        signal.signal(signal.SIGINT, signal.default_int_handler)
        queue, full, shared = whichever.Queue(), whichever.Queue(1), whichever.Queue()
        full.put(0)
        shared.put(0)
        shared._share()
        if "shared.get" in {wait!r}:
            shared.get()
        try:
            print("ready", flush=True)
            {wait}
        except KeyboardInterrupt:
            print("interrupted")
    """
    program = Program(tmp_path, text)
    assert program.line() == "ready"
    program.interrupt()
    out, err, code = program.finish()
    assert (out.strip(), err, code) == ("interrupted", "", 0)
