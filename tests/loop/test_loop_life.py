"""A loop's life: running, stopping, closing, several at once; executors, names, generators, and what it keeps."""

import asyncio
import concurrent.futures
import gc
import socket
import sys
import threading
import time
import tracemalloc
import weakref

import pytest
from peers import Echo, connected, until

import whichever


def test_run_until_complete_gives_the_result_or_raises(loop):
    async def answer():
        return 42

    async def fail():
        raise ZeroDivisionError

    assert loop.run_until_complete(answer()) == 42
    with pytest.raises(ZeroDivisionError):
        loop.run_until_complete(fail())
    assert loop.run_until_complete(answer()) == 42


def test_a_runner_takes_it_and_cleans_up(new_loop):
    ended = []

    async def forgotten():
        try:
            await asyncio.sleep(100)
        finally:
            ended.append("task")

    async def generator():
        try:
            yield 1
            yield 2
        finally:
            ended.append("generator")

    async def main():
        task = asyncio.create_task(forgotten())
        await asyncio.sleep(0)
        async for _ in (kept := generator()):
            break
        return task, kept, asyncio.get_running_loop()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        task, _, loop = runner.run(main())
        assert runner.run(asyncio.sleep(0, 5)) == 5
    assert loop.is_closed()
    assert task.cancelled()
    assert sorted(ended) == ["generator", "task"]


def test_a_loop_says_whether_it_runs(loop):
    async def main():
        assert loop.is_running()
        assert asyncio.get_running_loop() is loop
        with pytest.raises(RuntimeError, match="running"):
            loop.close()

    assert not loop.is_running()
    loop.run_until_complete(main())
    assert not loop.is_running()
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()


def test_a_loop_that_runs_may_not_be_run_again_and_goes_on(kind, loop):
    if kind == "asyncio" and sys.version_info >= (3, 12):
        pytest.skip("asyncio's loop no longer knows that it runs afterwards, from 3.12 on")

    async def main():
        with pytest.raises(RuntimeError, match="already running"):
            loop.run_forever()
        assert loop.is_running()
        await asyncio.sleep(0)
        assert asyncio.get_running_loop() is loop

    loop.run_until_complete(main())


def test_another_loop_may_not_run_inside(loop, new_loop):
    other = new_loop()

    async def main():
        with pytest.raises(RuntimeError, match="another loop is running"):
            other.run_forever()

    loop.run_until_complete(main())
    other.close()


def test_stop_before_the_start_runs_one_turn(loop):
    seen = []
    loop.call_soon(seen.append, 1)
    loop.stop()
    loop.run_forever()
    assert seen == [1]


def test_a_closed_loop_says_so_and_may_be_closed_again(new_loop):
    loop = new_loop()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    loop.close()
    assert loop.is_closed()
    with pytest.raises(RuntimeError, match="closed"):
        loop.run_forever()
    coroutine = asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="closed"):
        loop.run_until_complete(coroutine)
    coroutine.close()


def test_closing_drops_what_has_not_run(new_loop):
    class Thing:
        def __call__(self):
            pass

    loop = new_loop()
    things = [Thing(), Thing()]
    watched = [weakref.ref(thing) for thing in things]
    loop.call_soon(things[0])
    loop.call_later(100, things[1])
    loop.close()
    del things
    gc.collect()
    assert [one() for one in watched] == [None, None]


def test_a_loop_that_nobody_holds_is_collected(new_loop):
    loop = new_loop()
    watched = weakref.ref(loop)
    loop.call_later(100, loop.is_closed)

    async def main():
        await asyncio.sleep(0)

    loop.run_until_complete(main())
    loop.close()
    del loop
    gc.collect()
    assert watched() is None


def test_a_loop_that_was_not_closed_warns(new_loop):
    def forget():
        loop = new_loop()
        loop.call_soon(print)

    with pytest.warns(ResourceWarning, match="unclosed event loop"):
        forget_and_collect(forget)


def forget_and_collect(forget):
    forget()
    gc.collect()


def test_one_loop_a_thread_and_several_at_once(new_loop):
    results = {}

    def one(number):
        async def main():
            async with connected() as (client, _):
                for turn in range(50):
                    client.transport.write(b"%d" % (turn % 10))
                    await until(lambda: len(client.data) == turn + 1)  # noqa: B023
                    await asyncio.sleep(0)
                return bytes(client.data)

        with asyncio.Runner(loop_factory=new_loop) as runner:
            results[number] = runner.run(asyncio.wait_for(main(), 30))

    threads = [threading.Thread(target=one, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == dict.fromkeys(range(4), b"0123456789" * 5)


class TestExecutor:
    def test_a_function_runs_in_another_thread(self, loop, run):
        async def main():
            ident = await loop.run_in_executor(None, threading.get_ident)
            assert ident != threading.get_ident()
            assert await asyncio.to_thread(sum, [1, 2]) == 3

        run(main())

    def test_an_error_comes_back(self, loop, run):
        async def main():
            with pytest.raises(ZeroDivisionError):
                await loop.run_in_executor(None, lambda: 1 / 0)

        run(main())

    def test_an_executor_of_ones_own_is_used(self, loop, run):
        async def main():
            with concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="mine") as pool:
                name = await loop.run_in_executor(pool, lambda: threading.current_thread().name)
                assert name.startswith("mine")

        run(main())

    def test_the_default_executor_may_be_set(self, loop, run):
        pool = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="default")
        loop.set_default_executor(pool)

        async def main():
            name = await loop.run_in_executor(None, lambda: threading.current_thread().name)
            assert name.startswith("default")
            await loop.shutdown_default_executor()
            with pytest.raises(RuntimeError, match="shutdown"):
                await loop.run_in_executor(None, print)

        run(main())

    def test_our_loop_runs_functions_in_our_threads(self, kind, loop, run):
        if kind == "asyncio":
            pytest.skip("asyncio's has threads of its own")

        async def main():
            return await loop.run_in_executor(None, lambda: threading.current_thread().name)

        assert run(main()).startswith("asyncio")
        assert isinstance(loop._default_executor, whichever.ThreadPool)
        assert isinstance(loop._default_executor, concurrent.futures.ThreadPoolExecutor)

    def test_a_hundred_functions_at_once_all_come_back(self, loop, run):
        async def main():
            results = await asyncio.gather(
                *[loop.run_in_executor(None, pow, number, 2) for number in range(100)]
            )
            assert results == [number**2 for number in range(100)]

        run(main())


class TestNames:
    @pytest.mark.parametrize(("host", "family"), [("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)])
    def test_a_literal_is_resolved(self, loop, run, host, family):
        async def main():
            found = await loop.getaddrinfo(host, 80, type=socket.SOCK_STREAM)
            assert found == socket.getaddrinfo(host, 80, type=socket.SOCK_STREAM)
            assert found[0][0] == family

        run(main())

    def test_a_name_is_resolved(self, loop, run):
        async def main():
            found = await loop.getaddrinfo("localhost", 80, type=socket.SOCK_STREAM)
            assert found == socket.getaddrinfo("localhost", 80, type=socket.SOCK_STREAM)
            assert await loop.getnameinfo(
                ("127.0.0.1", 80), socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
            ) == (
                "127.0.0.1",
                "80",
            )

        run(main())

    def test_a_name_that_is_none_says_so(self, loop, run):
        async def main():
            with pytest.raises(socket.gaierror):
                await loop.getaddrinfo("no such name", 80, flags=socket.AI_NUMERICHOST)

        run(main())


def test_memory_stays_where_it_is(loop, run):
    async def churn():
        async with connected(served_by=Echo) as (client, _):
            for turn in range(200):
                client.transport.write(b"x" * 1000)
                loop.call_later(100, print).cancel()
                await until(lambda: len(client.data) >= (turn + 1) * 1000)  # noqa: B023

    async def main():
        for _ in range(3):
            await churn()
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(4):
            await churn()
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        return grown

    assert run(main()) < 200_000


def test_a_task_that_is_cancelled_at_every_turn_leaves_the_loop_well(loop, run):
    async def main():
        async with connected() as (client, _):
            for turn in range(100):
                task = asyncio.create_task(asyncio.sleep(1))
                for _ in range(turn % 4):
                    await asyncio.sleep(0)
                task.cancel()
                client.transport.write(b"x")
                with pytest.raises(asyncio.CancelledError):
                    await task
            await until(lambda: len(client.data) == 100)

    run(main())


def test_a_time_out_is_in_time(run):
    async def main():
        begin = time.monotonic()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await asyncio.sleep(10)
        return time.monotonic() - begin

    assert 0.05 <= run(main()) < 5
