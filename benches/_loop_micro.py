"""One small figure of one event loop, in operations per second, for `loop_micro.py`.

    _loop_micro.py LOOP FIGURE [SHARE]

SHARE shortens the work: 0.1 does a tenth of it.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from _loop_kinds import new_loop

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Figure = Callable[[Any, int], int]

FIGURES: dict[str, tuple[Figure, int]] = {}
"""What is measured, and with how many operations."""
AHEAD_S = 60.0
RINGS = 10_000
"""Time-outs that stand at once while they are armed again and again."""
SIDE_BY_SIDE = 1000


def figure(operations: int) -> Callable[[Figure], Figure]:
    """Register a figure under its function's name."""

    def register(function: Figure) -> Figure:
        FIGURES[function.__name__] = (function, operations)
        return function

    return register


def nothing(*_arguments: object) -> None:
    """Be called."""


def drain(loop: Any) -> None:
    """Run what is ready."""
    loop.call_soon(loop.stop)
    loop.run_forever()


@figure(200_000)
def call_soon(loop: Any, count: int) -> int:
    for _ in range(count):
        loop.call_soon(nothing)
    drain(loop)
    return count


@figure(200_000)
def call_soon_argument(loop: Any, count: int) -> int:
    for _ in range(count):
        loop.call_soon(nothing, 1)
    drain(loop)
    return count


@figure(100_000)
def call_soon_chain(loop: Any, count: int) -> int:
    left = count

    def again() -> None:
        nonlocal left
        left -= 1
        if left:
            loop.call_soon(again)
        else:
            loop.stop()

    loop.call_soon(again)
    loop.run_forever()
    return count


@figure(100_000)
def threadsafe_same_thread(loop: Any, count: int) -> int:
    for _ in range(count):
        loop.call_soon_threadsafe(nothing)
    drain(loop)
    return count


@figure(100_000)
def threadsafe_other_thread(loop: Any, count: int) -> int:
    def other() -> None:
        for _ in range(count):
            loop.call_soon_threadsafe(nothing)
        loop.call_soon_threadsafe(loop.stop)

    thread = threading.Thread(target=other)
    thread.start()
    loop.run_forever()
    thread.join()
    return count


@figure(5_000)
def threadsafe_wake(loop: Any, count: int) -> int:
    """Wake a loop that sleeps, one call at a time."""
    answered = threading.Semaphore(0)

    def other() -> None:
        for _ in range(count):
            loop.call_soon_threadsafe(answered.release)
            answered.acquire()
        loop.call_soon_threadsafe(loop.stop)

    thread = threading.Thread(target=other)
    thread.start()
    loop.run_forever()
    thread.join()
    return count


@figure(100_000)
def call_later_fire(loop: Any, count: int) -> int:
    for index in range(count):
        loop.call_later(1e-4 + index % 1000 * 1e-7, nothing)
    loop.call_later(0.01, loop.stop)
    loop.run_forever()
    return count


@figure(100_000)
def call_later_cancel(loop: Any, count: int) -> int:
    handles = [loop.call_later(AHEAD_S + index % 100, nothing) for index in range(count)]
    for handle in handles:
        handle.cancel()
    drain(loop)
    return count


@figure(200_000)
def call_later_churn(loop: Any, count: int) -> int:
    """Cancel and arm again, as servers do with keep-alive time-outs."""
    handles = [loop.call_later(AHEAD_S / 2 + index % 7, nothing) for index in range(RINGS)]
    done = 0

    def turn() -> None:
        nonlocal done
        for _ in range(1000):
            index = done % RINGS
            handles[index].cancel()
            handles[index] = loop.call_later(AHEAD_S / 2 + index % 7, nothing)
            done += 1
        if done < count:
            loop.call_soon(turn)
        else:
            loop.stop()

    loop.call_soon(turn)
    loop.run_forever()
    for handle in handles:
        handle.cancel()
    return done


def run(loop: Any, work: Awaitable[Any]) -> None:
    loop.run_until_complete(work)


@figure(100_000)
def sleep_0(loop: Any, count: int) -> int:
    async def sleeper() -> None:
        for _ in range(count):
            await asyncio.sleep(0)

    run(loop, sleeper())
    return count


@figure(100_000)
def sleep_0_of_1000_tasks(loop: Any, count: int) -> int:
    async def sleeper() -> None:
        for _ in range(count // SIDE_BY_SIDE):
            await asyncio.sleep(0)

    async def main() -> None:
        await asyncio.gather(*[sleeper() for _ in range(SIDE_BY_SIDE)])

    run(loop, main())
    return count


@figure(20_000)
def tasks(loop: Any, count: int) -> int:
    async def one() -> None:
        pass

    async def main() -> None:
        for _ in range(count // 100):
            await asyncio.gather(*[one() for _ in range(100)])

    run(loop, main())
    return count


@figure(4_000)
def run_in_executor(loop: Any, count: int) -> int:
    async def main() -> None:
        for _ in range(count):
            await loop.run_in_executor(None, nothing)

    run(loop, main())
    return count


@figure(10_000)
def run_in_executor_100_at_once(loop: Any, count: int) -> int:
    async def main() -> None:
        for _ in range(count // 100):
            await asyncio.gather(*[loop.run_in_executor(None, nothing) for _ in range(100)])

    run(loop, main())
    return count


@figure(4_000)
def getaddrinfo_literal(loop: Any, count: int) -> int:
    async def main() -> None:
        for _ in range(count):
            await loop.getaddrinfo("127.0.0.1", 80)

    run(loop, main())
    return count


@figure(100)
def subprocess_exec(loop: Any, count: int) -> int:
    async def main() -> None:
        for _ in range(count):
            process = await asyncio.create_subprocess_exec("/bin/true")
            await process.wait()

    run(loop, main())
    return count


@figure(60)
def subprocess_communicate(loop: Any, count: int) -> int:
    async def main() -> None:
        pipe = asyncio.subprocess.PIPE
        for _ in range(count):
            process = await asyncio.create_subprocess_exec("/bin/cat", stdin=pipe, stdout=pipe)
            said, _ = await process.communicate(b"x" * 10_000)
            assert len(said) == 10_000

    run(loop, main())
    return count


@figure(500)
def connect_and_close(loop: Any, count: int) -> int:
    async def served(_reader: Any, writer: Any) -> None:
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(served, "127.0.0.1", 0, backlog=1000)
        port = server.sockets[0].getsockname()[1]
        for _ in range(count):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            await reader.read()
            writer.close()
        server.close()

    run(loop, asyncio.wait_for(main(), 30))
    return count


def main() -> None:
    name, wanted, *share = sys.argv[1:]
    loop = new_loop(name)
    asyncio.set_event_loop(loop)
    function, operations = FIGURES[wanted]
    count = max(10, int(operations * float(share[0] if share else 1)))
    function(loop, max(10, count // 20))
    gc.collect()
    begin = time.perf_counter()
    done = function(loop, count)
    print(json.dumps(done / (time.perf_counter() - begin)), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
