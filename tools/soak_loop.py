"""Run an event loop hard and long, and see that it loses nothing, mixes nothing up, and leaves nothing.

    soak_loop.py [--seconds S | --messages N] [--loop MODULE:FACTORY] [--lives N] [--seed N] [--out NAME]

Clients and servers live on the loop under test: transports, streams and plain sockets, which talk and end well, by
a reset, an abort, a half close, a time-out in the middle, or after having read nothing for a while; every twentieth
server raises in one of its callbacks. Beside them timers are armed and given up, other threads hand in callbacks,
and now and then no more descriptors may be opened for a moment.

Every byte must come back in its place. Afterwards there must be no more descriptors and threads than before, no live
protocol, no error that was not planned, and memory must not have grown between the first fifth and the end by more
than `GROWTH_MIB`. The exit code is 1 when anything is wrong, and what is wrong is said.
"""

from __future__ import annotations

import argparse
import asyncio
import errno
import faulthandler
import gc
import importlib
import random
import resource
import sys
import threading
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benches._result import write_result
from soak_loop_lives import PLANNED, Book, Server, live

LOOP = "whichever:EventLoop"
GROWTH_MIB = 8.0
STALL_S = 60.0
PAGE = resource.getpagesize()
EMFILE_S = 0.05
SPARE = 3
"""Descriptors that may still be opened while there are few."""


def resident_mib() -> float:
    """Give the memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE / 2**20


def descriptors() -> int:
    """Count the open descriptors."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


class Soak:
    """One run.

    Args:
        options: What the command line asks for.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.book = Book()
        self.dice = random.Random(options.seed)
        self.planned = self.refused = self.calls = 0
        self.begin = time.monotonic()

    def told(self, _loop: Any, context: dict[str, Any]) -> None:
        """Take what the loop reports: planned errors, and connections that could not be accepted."""
        error = context.get("exception")
        if isinstance(error, ZeroDivisionError) and PLANNED in str(error):
            self.planned += 1
        elif isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
            self.refused += 1
        else:
            self.book.wrong.append(f"the loop reports {context['message']}: {error!r}")

    def share(self) -> float:
        """Say how much of the work is done."""
        if self.options.messages:
            return float(self.book.messages / self.options.messages)
        return float((time.monotonic() - self.begin) / self.options.seconds)

    async def lives(self, port: int) -> None:
        """Live one life after the other."""
        while self.share() < 1 and not self.book.wrong:
            faulthandler.dump_traceback_later(STALL_S, exit=True)
            await live(port, self.book, random.Random(self.dice.random()))

    async def timers(self) -> None:
        """Arm timers and give most of them up."""
        loop = asyncio.get_running_loop()
        while True:
            handles = [loop.call_later(self.dice.random() * 10, self.never) for _ in range(1000)]
            await asyncio.sleep(self.dice.random() * 0.01)
            for handle in handles:
                handle.cancel()

    def never(self) -> None:
        """Be a timer that is given up before its time, unless the loop was busy."""

    async def few_descriptors(self) -> None:
        """Let nobody open more descriptors for a moment, now and then."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        while True:
            await asyncio.sleep(self.dice.random())
            # The limit is on numbers, and the smallest free one comes next.
            resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors() + SPARE, hard))
            try:
                await asyncio.sleep(EMFILE_S)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    def other_thread(self, loop: asyncio.AbstractEventLoop, ended: threading.Event) -> None:
        """Hand in callbacks from outside."""
        while not ended.wait(0.001):
            for _ in range(100):
                loop.call_soon_threadsafe(self.count)

    def count(self) -> None:
        """Be called."""
        self.calls += 1

    async def memory(self) -> None:
        """See that memory does not grow."""
        while self.share() < 0.2:
            await asyncio.sleep(0.05)
        gc.collect()
        before = resident_mib()
        while self.share() < 1:
            await asyncio.sleep(0.05)
        gc.collect()
        self.grown = resident_mib() - before
        if self.grown > GROWTH_MIB:
            self.book.wrong.append(f"memory grew by {self.grown:.1f} MiB")

    async def main(self) -> None:
        """Run everything beside each other."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self.told)
        server = await loop.create_server(
            lambda: Server(random.Random(self.dice.random())), "127.0.0.1", 0, backlog=1000
        )
        port = server.sockets[0].getsockname()[1]
        ended = threading.Event()
        thread = threading.Thread(target=self.other_thread, args=(loop, ended))
        thread.start()
        beside = [asyncio.create_task(work) for work in (self.timers(), self.few_descriptors())]
        try:
            await asyncio.gather(self.memory(), *[self.lives(port) for _ in range(self.options.lives)])
        finally:
            ended.set()
            thread.join()
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
            server.close()
        end = time.monotonic() + STALL_S
        while Server.live and time.monotonic() < end:
            await asyncio.sleep(0.01)
        if Server.live:
            self.book.wrong.append(f"{Server.live} protocols were never told that their connection is lost")

    def run(self) -> dict[str, Any]:
        """Run, look what is left, and sum up."""
        module, _, name = self.options.loop.partition(":")
        factory = getattr(importlib.import_module(module), name)
        factory().close()
        before = descriptors(), threading.active_count()
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(self.main())
        gc.collect()
        left = descriptors(), threading.active_count()
        if left > before:
            self.book.wrong.append(f"descriptors and threads were {before}, are {left}")
        return {
            "loop": self.options.loop.partition(":")[0],
            "connections": self.book.connections,
            "messages": self.book.messages,
            "planned errors": self.planned,
            "calls from a thread": self.calls,
            "refused for want of descriptors": self.refused,
            "MiB grown": round(self.grown, 1),
            "seconds": round(time.monotonic() - self.begin, 1),
            "seed": self.options.seed,
        }


def main() -> int:
    """Run, print, write; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--messages", type=int, help="instead of seconds")
    parser.add_argument("--loop", default=LOOP, metavar="MODULE:FACTORY")
    parser.add_argument("--lives", type=int, default=50, help="connections at once")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--out", help="name of the result file; none is written without")
    options = parser.parse_args()
    if options.seed is None:
        options.seed = random.SystemRandom().randrange(1 << 30)
    soak = Soak(options)
    row = soak.run()
    faulthandler.cancel_dump_traceback_later()
    print(", ".join(f"{value} {name}" for name, value in row.items()))
    if soak.book.wrong:
        print(f"seed {options.seed}:", *soak.book.wrong[:10], sep="\n    ")
        return 1
    print("nothing lost, nothing mixed up, nothing left")
    if options.out:
        print(write_result(options.out, [row]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
