"""Queues hard and long: threads, tasks and processes put and get at random, time out, are cancelled and killed.

    stress_queue.py [--seconds 60] [--seed N] [--round-seconds 3]

Each round makes a queue of a random limit, in one process or shared, lets producers and consumers of all kinds work on
it for a while, kills processes if there are any, closes it, and counts: every item that was put by somebody who lived
to say so has come out once; who was killed may have lost the one item that it held, or kept to itself what it had put
last. Nobody may wait longer than a bound. The exit code is 1 when a round finds anything else; it then says the seed.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import contextlib
import faulthandler
import multiprocessing
import os
import random
import signal
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import whichever

BOUND_S = 60.0
"""Seconds after which somebody who still waits has been forgotten."""
LARGEST = 200_000
SHORT_S = 0.002
MIB = 1 << 20


@dataclass
class Book:
    """What the threads and tasks of this process have put and got."""

    put: list[int] = field(default_factory=list)
    got: list[int] = field(default_factory=list)


def item(number: int) -> Any:
    """Make an item that carries its number: an int, a pickle, or bytes of some size."""
    kind = number % 7
    if kind == 0:
        return b"%d:" % number + b"x" * (number % LARGEST)
    return [number, {"n": number}] if kind == 1 else number


def number_of(thing: Any) -> int:
    """Read the number of an item, and check that it is whole."""
    if isinstance(thing, bytes):
        head, _, rest = thing.partition(b":")
        number = int(head)
        if len(rest) != number % LARGEST:
            msg = f"item {number} has {len(rest)} bytes"
            raise ValueError(msg)
        return number
    return int(thing[0] if isinstance(thing, list) else thing)


def produce(queue: Any, book: Book, numbers: Any, dice: random.Random) -> None:
    """Put items, with timeouts now and then, until the queue is closed."""
    for number in numbers:
        while True:
            try:
                queue.put(item(number), timeout=SHORT_S if dice.random() < 0.3 else None)
            except whichever.QueueFull:
                continue
            except whichever.QueueClosed:
                return
            break
        book.put.append(number)


def consume(queue: Any, book: Book, dice: random.Random) -> None:
    """Get items, with timeouts now and then, until the queue is closed and empty."""
    while True:
        try:
            got = queue.get(timeout=SHORT_S if dice.random() < 0.3 else None)
        except whichever.QueueEmpty:
            continue
        except whichever.QueueClosed:
            return
        book.got.append(number_of(got))
        queue.task_done()


async def produce_task(queue: Any, book: Book, numbers: Any, dice: random.Random) -> None:
    """Put items as a task; a put that was cancelled has not happened."""
    for number in numbers:
        while True:
            try:
                async with asyncio.timeout(SHORT_S if dice.random() < 0.3 else None):
                    await queue.aput(item(number))
                    book.put.append(number)
            except TimeoutError:
                if book.put and book.put[-1] == number:
                    break
                continue
            except whichever.QueueClosed:
                return
            break
        if dice.random() < 0.05:
            await asyncio.sleep(0)


async def consume_task(queue: Any, book: Book, dice: random.Random) -> None:
    """Get items as a task; a get that was cancelled has taken nothing."""
    while True:
        try:
            async with asyncio.timeout(SHORT_S if dice.random() < 0.3 else None):
                got = await queue.aget()
                book.got.append(number_of(got))
                queue.task_done()
        except TimeoutError:
            pass
        except whichever.QueueClosed:
            return
        if dice.random() < 0.05:
            await asyncio.sleep(0)


def loop_thread(queue: Any, book: Book, numbers: list[Any], seed: int) -> None:
    """Run some tasks of both kinds on a loop of their own."""

    async def main() -> None:
        dice = random.Random(seed)
        async with asyncio.TaskGroup() as group:
            for own in numbers:
                group.create_task(produce_task(queue, book, own, dice))
                group.create_task(consume_task(queue, book, dice))

    asyncio.run(main())


def far_producer(queue: Any, counter: Any, first: int, seed: int) -> None:
    """Put items as a process; the counter says how many are in for sure."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    book = Counted(counter)
    with contextlib.suppress(whichever.QueueClosed):
        produce(queue, Book(put=book), range(first, first + 10**9), random.Random(seed))


def far_consumer(queue: Any, answers: Any, seed: int) -> None:
    """Get items as a process, and hand their numbers on."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    consume(queue, Book(got=Handed(answers)), random.Random(seed))


class Counted(list[int]):
    """A list that only counts, where another process sees it."""

    def __init__(self, counter: Any) -> None:
        super().__init__()
        self._counter = counter

    def append(self, _number: int) -> None:
        """Count one more."""
        self._counter.value += 1


class Handed(list[int]):
    """A list whose items go to another process."""

    def __init__(self, answers: Any) -> None:
        super().__init__()
        self._answers = answers

    def append(self, number: int) -> None:
        """Hand it on."""
        self._answers.put(number)


class Round:
    """One queue and everybody at it.

    Args:
        seed: Decides everything that is random, but for the schedule.
        seconds: How long to let them work.
    """

    def __init__(self, seed: int, seconds: float) -> None:
        self._dice = random.Random(seed)
        self._seconds = seconds
        self._queue: whichever.Queue[Any] = whichever.Queue(self._dice.choice([1, 2, 10, 100]))
        self._answers: whichever.Queue[int] = whichever.Queue()
        self._books: list[Book] = []
        self._threads: list[threading.Thread] = []
        self._first = 0
        self._producers: list[tuple[Any, Any, int]] = []
        self._consumers: list[Any] = []
        self.shared = self._dice.random() < 0.6
        self.kills = 0
        self.items = 0

    def _numbers(self) -> range:
        self._first += 10**9
        return range(self._first, self._first + 10**9)

    def _thread(self, work: Any, *arguments: Any) -> None:
        self._books.append(Book())
        thread = threading.Thread(target=work, args=(self._queue, self._books[-1], *arguments), daemon=True)
        self._threads.append(thread)
        thread.start()

    def _start(self) -> None:
        if self.shared:
            self._start_processes()
        for _ in range(self._dice.randint(0, 2)):
            self._thread(produce, self._numbers(), random.Random(self._dice.random()))
            self._thread(consume, random.Random(self._dice.random()))
        for _ in range(self._dice.randint(1, 2)):
            own = [self._numbers() for _ in range(self._dice.randint(1, 4))]
            self._thread(loop_thread, own, self._dice.randrange(1 << 30))

    def _start_processes(self) -> None:
        context = multiprocessing.get_context("forkserver")
        for _ in range(self._dice.randint(1, 2)):
            counter = context.Value("q", 0, lock=False)
            numbers = self._numbers()
            arguments = (self._queue, counter, numbers.start, self._dice.randrange(1 << 30))
            producer = context.Process(target=far_producer, args=arguments, daemon=True)
            self._producers.append((producer, counter, numbers.start))
            arguments = (self._queue, self._answers, self._dice.randrange(1 << 30))
            consumer = context.Process(target=far_consumer, args=arguments, daemon=True)
            self._consumers.append(consumer)
        for process in (*self._consumers, *(producer for producer, _, _ in self._producers)):
            process.start()

    def _kill(self) -> None:
        """Kill a process in the middle of whatever it does."""
        alive = [p for p in (*self._consumers, *(p for p, _, _ in self._producers)) if p.is_alive()]
        if alive:
            victim = self._dice.choice(alive)
            os.kill(victim.pid, signal.SIGKILL)
            victim.join()
            self.kills += 1

    def run(self) -> list[str]:
        """Let them work, end it, and say what is wrong."""
        self._start()
        end = time.monotonic() + self._seconds
        pause = threading.Event()
        while time.monotonic() < end:
            pause.wait(self._seconds * self._dice.uniform(0.1, 0.5))
            if self._dice.random() < 0.5:
                self._kill()
        self._queue.close()
        late = [thread for thread in self._threads if not ended(thread)]
        processes = [*self._consumers, *(producer for producer, _, _ in self._producers)]
        late += [process for process in processes if not ended(process)]
        if late:
            faulthandler.dump_traceback()
            return [f"{len(late)} of {len(self._threads) + len(processes)} still wait"]
        return self._judge()

    def _judge(self) -> list[str]:
        self._answers.close()
        left = [number_of(thing) for thing in self._queue]
        got = collections.Counter([number for book in self._books for number in book.got])
        got.update(self._answers)
        got.update(left)
        self.items = got.total()
        put = {number for book in self._books for number in book.put}
        unsure = set()
        for _, counter, first in self._producers:
            put.update(range(first, first + counter.value))
            unsure.add(first + counter.value)
        wrong = [f"item {number} came {times} times" for number, times in got.items() if times > 1]
        lost = put - set(got)
        strange = set(got) - put - unsure
        if len(lost) > self.kills:
            wrong.append(f"{len(lost)} items are lost after {self.kills} kills: {sorted(lost)[:5]}")
        if strange:
            wrong.append(f"items came that nobody put: {sorted(strange)[:5]}")
        return wrong


def ended(worker: Any) -> bool:
    """Wait for a thread or process within the bound."""
    worker.join(BOUND_S)
    return not worker.is_alive()


def main() -> int:
    """Run rounds until the time is over; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--round-seconds", type=float, default=3.0)
    parser.add_argument("--seed", type=int, default=None)
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 30)
    end = time.monotonic() + options.seconds
    rounds = items = kills = 0
    while time.monotonic() < end:
        played = Round(seed + rounds, min(options.round_seconds, max(0.2, end - time.monotonic())))
        wrong = played.run()
        rounds, items, kills = rounds + 1, items + played.items, kills + played.kills
        if wrong:
            print(f"seed {seed + rounds - 1}:", *wrong[:10], sep="\n    ")
            return 1
    print(
        f"{rounds} rounds, {items} items, {kills} processes killed: nothing lost, nothing twice, nobody waits"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
