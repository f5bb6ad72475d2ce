"""What `aget`, `aput` and `async for` give to await: it is a coroutine in all that programs do with one."""

from __future__ import annotations

import asyncio
import collections.abc
import gc
import subprocess
import sys
import textwrap
import weakref

import pytest

from whichever import Queue, QueueClosed


def run(main):
    return asyncio.run(asyncio.wait_for(main, 30))


class Item:
    """Something that can be referred to weakly."""


@pytest.mark.parametrize("item", [0, None, (), (1, 2), ValueError("an item"), StopIteration(5), [3]])
def test_any_object_comes_out_as_it_went_in(item):
    async def main():
        queue = Queue()
        await queue.aput(item)
        await queue.aput(item)
        assert await queue.aget() is item
        assert await asyncio.create_task(queue.aget()) is item
        sleeper = asyncio.create_task(queue.aget())
        await asyncio.sleep(0)
        queue.put(item)
        assert await sleeper is item

    run(main())


def test_it_runs_as_a_task_and_alone():
    queue = Queue()
    assert queue.aget().close() is None
    pending = queue.aput("item")
    assert isinstance(pending, collections.abc.Coroutine)
    assert asyncio.run(pending) is None
    assert asyncio.run(queue.aget()) == "item"


def test_nothing_is_done_before_it_is_awaited():
    async def main():
        queue = Queue()
        put = queue.aput(1)
        assert queue.empty()
        await put
        get = queue.aget()
        assert queue.qsize() == 1
        assert await get == 1

    run(main())


@pytest.mark.parametrize(("method", "args"), [("aget", ()), ("aput", (1,)), ("__anext__", ())])
def test_a_forgotten_await_is_warned_of(method, args):
    queue = Queue()
    with pytest.warns(RuntimeWarning, match=rf"coroutine 'Queue\.{method}' was never awaited"):
        getattr(queue, method)(*args)
    assert queue.empty()


@pytest.mark.parametrize("late", ["queue.put(1)", "queue.aget()", "next(queue.aput(1), None)"])
def test_a_queue_may_be_used_while_the_interpreter_ends(late):
    lines = f"""
        import warnings
        from whichever import Queue
        warnings.simplefilter("ignore")
        class Late:
            def __init__(self):
                self.use = lambda queue: {late}
                self.queue = Queue()
            def __del__(self):
                self.use(self.queue)
                print("used")
        late = Late()
    """
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(lines)], capture_output=True, text=True, timeout=30, check=True
    )
    assert ended.stdout == "used\n", ended.stderr


def test_it_is_awaited_once():
    async def main():
        queue = Queue()
        queue.put(1)
        queue.put(2)
        get = queue.aget()
        assert await get == 1
        with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
            await get
        assert queue.qsize() == 1

    run(main())


def test_it_can_be_driven_by_hand():
    queue = Queue()
    queue.put((1, 2))
    queue.put("second")
    with pytest.raises(StopIteration) as first:
        queue.aget().send(None)
    with pytest.raises(StopIteration) as second:
        next(queue.aget().__await__())
    assert first.value.value == (1, 2)
    assert second.value.value == "second"
    started = queue.aget()
    with pytest.raises(TypeError, match="non-None value to a just-started"):
        started.send(1)
    with pytest.raises(KeyError):
        started.throw(KeyError("thrown"))
    with pytest.raises(RuntimeError, match="cannot reuse"):
        started.send(None)


def test_a_stop_that_a_program_keeps_keeps_its_value():
    queue = Queue()
    for number in (1000, 2000):
        queue.put(number)
    kept = []
    for _ in range(2):
        try:
            queue.aget().send(None)
        except StopIteration as stop:
            kept.append(stop)
    assert [stop.value for stop in kept] == [1000, 2000]


def test_an_item_that_was_awaited_is_kept_by_nobody():
    async def main():
        queue = Queue()
        queue.put(Item())
        item = await queue.aget()
        dropped = weakref.ref(item)
        del item
        gc.collect()
        assert dropped() is None

    run(main())


def test_a_queue_in_a_cycle_with_what_waits_for_it_is_collected():
    queue = Queue()
    waiting = queue.aget()
    queue.put([waiting])
    waiting.close()
    dropped = weakref.ref(queue)
    del queue, waiting
    gc.collect()
    assert dropped() is None


def test_no_references_are_left_behind():
    async def main():
        queue, item = Queue(), Item()
        before = sys.getrefcount(queue), sys.getrefcount(item)
        for _ in range(100):
            await queue.aput(item)
            assert await queue.aget() is item
            queue.aget().close()
            queue.aput(item).close()
        assert (sys.getrefcount(queue), sys.getrefcount(item)) == before

    run(main())


def test_a_closed_queue_refuses_and_ends():
    async def main():
        queue = Queue()
        queue.put(1)
        queue.close()
        with pytest.raises(QueueClosed):
            await queue.aput(2)
        assert [item async for item in queue] == [1]
        with pytest.raises(QueueClosed):
            await queue.aget()

    run(main())


def test_a_task_that_waits_shows_what_for():
    async def main():
        queue = Queue()
        task = asyncio.create_task(queue.aget())
        await asyncio.sleep(0)
        waiting = task.get_coro()
        assert "aget" in repr(task)
        assert waiting.cr_await.__name__ == "_aget"
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main())


def test_keywords_and_wrong_arguments_are_as_ever():
    queue = Queue(1)
    queue.put(item=1, block=True)
    assert queue.get(timeout=1) == 1
    asyncio.run(queue.aput(item=2))
    for wrong in (
        lambda: queue.put(),
        lambda: queue.get(other=1),
        lambda: queue.aput(),
        lambda: queue.aget(1),
    ):
        with pytest.raises(TypeError):
            wrong()
    assert queue.qsize() == 1
