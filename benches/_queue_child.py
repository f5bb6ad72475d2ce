"""One figure of one contender of `queues.py`, in a process of its own: prints items per second.

    _queue_child.py GROUP CONTENDER ITEMS

The clock starts when all threads, tasks and processes are there, and stops when the last item was taken.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import queue
import sys
import threading
import time
from typing import Any

import whichever

MAXSIZE = 1000
MAXSIZE_THREADS = 10_000
"""The limit between threads: a producer fills a thousand places in less time than a thread takes to wake up."""
MAXSIZE_LARGE = 16
"""The limit for items of a mebibyte."""
ITEMS = {"int": 7, "1 KiB": b"x" * 1024, "1 MiB": b"x" * (1 << 20)}
SENTINEL = None


# Threads


def bounded(name: str) -> Any:
    """Make a queue for threads."""
    if name == "culsans":
        import culsans  # noqa: PLC0415 - a rival may not be there

        return culsans.Queue(MAXSIZE_THREADS).sync_q
    makers = {
        "whichever.Queue": lambda: whichever.Queue(MAXSIZE_THREADS),
        "queue.Queue": lambda: queue.Queue(MAXSIZE_THREADS),
        "queue.SimpleQueue": queue.SimpleQueue,
    }
    return makers[name]()


def threads(name: str, items: int, pairs: int) -> float:
    """Let `pairs` producers and as many consumers, all threads, pass items on."""
    line = bounded(name)
    ready = threading.Barrier(2 * pairs + 1)
    share = items // pairs

    def produce() -> None:
        put = line.put
        ready.wait()
        for number in range(share):
            put(number)

    def consume() -> None:
        get = line.get
        ready.wait()
        for _ in range(share):
            get()

    workers = [threading.Thread(target=work) for work in (produce, consume) for _ in range(pairs)]
    for worker in workers:
        worker.start()
    ready.wait()
    begin = time.perf_counter()
    for worker in workers:
        worker.join()
    return share * pairs / (time.perf_counter() - begin)


# Threads and tasks


def two_faces(name: str) -> tuple[Any, Any, Any, Any]:
    """Make a queue for threads and tasks: put, get, async put, async get."""
    if name == "whichever.Queue":
        own: whichever.Queue[int] = whichever.Queue(MAXSIZE)
        return own.put, own.get, own.aput, own.aget
    if name == "janus":
        import janus  # noqa: PLC0415 - a rival may not be there

        both = janus.Queue(MAXSIZE)
    else:
        import culsans  # noqa: PLC0415 - a rival may not be there

        both = culsans.Queue(MAXSIZE)
    return both.sync_q.put, both.sync_q.get, both.async_q.put, both.async_q.get


async def mixed(name: str, items: int, *, to_task: bool) -> float:
    """Pass items from a thread to a task, or from a task to a thread."""
    put, get, aput, aget = two_faces(name)

    def other() -> None:
        for number in range(items):
            put(number) if to_task else get()

    thread = threading.Thread(target=other)
    begin = time.perf_counter()
    thread.start()
    for number in range(items):
        await (aget() if to_task else aput(number))
    await asyncio.to_thread(thread.join)
    return items / (time.perf_counter() - begin)


async def tasks(name: str, items: int) -> float:
    """Pass items from a task to another of the same loop."""
    if name == "asyncio.Queue":
        line: Any = asyncio.Queue(MAXSIZE)
        aput, aget = line.put, line.get
    else:
        _, _, aput, aget = two_faces(name)

    async def produce() -> None:
        for number in range(items):
            await aput(number)

    begin = time.perf_counter()
    producer = asyncio.create_task(produce())
    for _ in range(items):
        await aget()
    await producer
    return items / (time.perf_counter() - begin)


# Processes


def between(name: str, context: Any, size: str) -> Any:
    """Make a queue for processes."""
    limit = MAXSIZE_LARGE if size == "1 MiB" else MAXSIZE
    if name == "faster-fifo":
        import faster_fifo  # noqa: PLC0415 - a rival may not be there

        return faster_fifo.Queue(max_size_bytes=max(1 << 20, limit * (len(str(ITEMS[size])) + 64)))
    makers = {
        "whichever.Queue": lambda: whichever.Queue(limit),
        "mp.Queue": lambda: context.Queue(limit),
        "mp.SimpleQueue": context.SimpleQueue,
    }
    return makers[name]()


def produce_far(line: Any, ready: Any, items: int, item: object) -> None:
    ready.wait()
    for _ in range(items):
        line.put(item)


def consume_far(line: Any, ready: Any, items: int) -> None:
    name = type(line).__module__
    get = (lambda: line.get(timeout=60)) if name == "faster_fifo" else line.get
    ready.wait()
    for _ in range(items):
        get()


def processes(name: str, items: int, size: str, pairs: int) -> float:
    """Let `pairs` producers and as many consumers, all processes, pass items on."""
    context = multiprocessing.get_context("fork")
    line = between(name, context, size)
    ready = context.Barrier(2 * pairs + 1)
    share = items // pairs
    workers = [
        context.Process(target=produce_far, args=(line, ready, share, ITEMS[size])) for _ in range(pairs)
    ]
    workers += [context.Process(target=consume_far, args=(line, ready, share)) for _ in range(pairs)]
    for worker in workers:
        worker.start()
    ready.wait()
    begin = time.perf_counter()
    for worker in workers:
        worker.join()
    return share * pairs / (time.perf_counter() - begin)


def main() -> None:
    group, name, items = sys.argv[1], sys.argv[2], int(sys.argv[3])
    kind, _, what = group.partition(", ")
    if kind == "threads":
        figure = threads(name, items, 1 if what == "1 to 1" else 4)
    elif kind == "thread to task":
        figure = asyncio.run(mixed(name, items, to_task=True))
    elif kind == "task to thread":
        figure = asyncio.run(mixed(name, items, to_task=False))
    elif kind == "task to task":
        figure = asyncio.run(tasks(name, items))
    else:
        size, _, pairs = what.partition(", ")
        figure = processes(name, items, size, 4 if pairs else 1)
    print(json.dumps(figure))


if __name__ == "__main__":
    main()
