"""Pools and futures hard and long: many threads and event loops do all that one may do to them, at random.

    stress_pools.py [--seconds 60] [--seed N] [--rounds N] [--pool NAME ...]

Each round makes a pool of a random kind and size. Players hand in tasks, cancel, wait, listen and map for a moment
(`stress_moves.py`), the pool is closed, dropped or left under them, and it is counted: what was handed in has run once
and has its outcome, what was cancelled has not, each callback was called once (`stress_book.py`); no thread is left, no
future, no result. Other rounds are programs of their own that meet Ctrl-C, end while tasks run and wait, or fork
(`stress_ends.py`).

A line tells the seed of each round before it begins; ``--seed N --rounds 1`` plays it again, with other chances of the
schedule. A round that hangs ends the run with every thread's stack. The exit code is 1 when anything is wrong.
"""

from __future__ import annotations

import argparse
import faulthandler
import gc
import logging
import random
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import stress_ends
import stress_tasks
from stress_book import BOUND_S, SHOWN, Book, Promises, left_behind, until
from stress_moves import LoopPlayer, Player

import whichever

MOMENT_S = 0.5
"""How long players play, mostly."""
GROWTH_MIB = 48.0
"""What heaps may take that settle late; a leak of one future a task is ten times that in a minute."""
WARM_ROUNDS = 20
"""Rounds after which memory is looked at first."""


@dataclass(frozen=True)
class Kind:
    """A kind of pool under stress.

    Attributes:
        pool: The class's name.
        share: How many of a hundred rounds it has, or so.
        workers: The numbers of workers to choose from.
        stops: Whether it stops tasks that run.
        far: Whether its tasks run where they share no memory with us.
    """

    pool: str
    share: int
    workers: tuple[int, ...] = (1, 2, 3, 8)
    stops: bool = False
    far: bool = False


KINDS = {
    "threads": Kind("ThreadPool", 55, (1, 2, 2, 3, 8, 32)),
    "async": Kind("AsyncPool", 10, stops=True),
    "serial": Kind("SerialPool", 5, (1,)),
    "interpreters": Kind("InterpreterPool", 4, (1, 2), far=True),
    "processes": Kind("ProcessPool", 10, (1, 2, 3), stops=True, far=True),
}
ENDS_SHARE = 20
"""How many of a hundred rounds are programs of their own, or so."""


class Round:
    """One pool, and everybody at it.

    Args:
        kind: What pool.
        seed: Decides everything that is random, but for the schedule.
        folder: Where to put files.
    """

    def __init__(self, kind: Kind, seed: int, folder: Path) -> None:
        self._kind, self._dice = kind, random.Random(seed)
        self._promises = Promises(stops=kind.stops)
        notes: Any = (
            stress_tasks.FileNotes(str(folder / f"notes-{seed}")) if kind.far else stress_tasks.Notes()
        )
        self.book = Book(notes)
        self._players: list[Player] = []
        self._closers = 0
        self.moves = 0

    def _make(self) -> Any:
        """Make the pool; now and then with an initializer that raises, the first time or later."""
        dice = self._dice
        options: dict[str, Any] = {}
        if self._kind.pool in ("ThreadPool", "AsyncPool") and dice.random() < 0.15:
            self._promises.may_break = True
            options["initializer"] = _Failing(dice.randint(0, 3))
        if self._kind.pool == "ThreadPool":
            options["copy_context"] = dice.random() < 0.7
        return getattr(whichever, self._kind.pool)(dice.choice(self._kind.workers), **options)

    def run(self) -> list[str]:
        """Play the round; say what is wrong."""
        before = set(threading.enumerate())
        pool = self._make()
        for place in range(self._dice.randint(1, 4)):
            make = LoopPlayer if self._dice.random() < 0.25 else Player
            own = random.Random(self._dice.random())
            is_async = self._kind.pool == "AsyncPool"
            self._players.append(make(pool, self.book, own, place + 1, is_async=is_async))
        for player in self._players:
            player.start()
        ways = (self._leave, self._close, self._close, self._drop)
        self._dice.choice(ways)(pool)
        del pool
        late = [player for player in self._players if not ended(player)]
        if late:
            faulthandler.dump_traceback()
            return [*self.book.wrong, f"{late} are late at {state_of(late[0].pool)}"]
        self.moves = sum(player.moves for player in self._players)
        wrong = self.book.judge(self._promises)
        if not until(lambda: set(threading.enumerate()) <= before | _of_others()):
            wrong.append(f"threads are left: {set(threading.enumerate()) - before}")
        return wrong

    def _pause(self, most: float = MOMENT_S) -> None:
        threading.Event().wait(self._dice.uniform(0, most))

    def _stop_players(self) -> None:
        for player in self._players:
            player.ending.set()

    def _leave(self, pool: Any) -> None:
        """Leave the pool when all have stopped, as ``with`` does."""
        with pool:
            self._pause()
            self._stop_players()
            for player in self._players:
                ended(player)

    def _close(self, pool: Any) -> None:
        """Close the pool under the players, once or several times at once."""
        self._pause()
        closers = []
        self._closers = self._dice.choice([1, 1, 2])
        for _ in range(self._closers):
            wait, drops = self._dice.random() < 0.7, self._dice.random() < 0.5
            self._promises.drops |= drops
            closers.append(threading.Thread(target=self._shut_down, args=(pool, wait, drops), daemon=True))
        for closer in closers:
            closer.start()
        self._pause(0.02)
        self._stop_players()
        for closer in closers:
            if not ended(closer):
                faulthandler.dump_traceback()
                self.book.wrong.append("shutdown waits for ever")

    def _shut_down(self, pool: Any, wait: bool, drops: bool) -> None:  # noqa: FBT001 - a thread's arguments
        before = tuple(self.book.tasks)
        try:
            pool.shutdown(wait=wait, cancel_futures=drops)
        except BaseException as error:  # noqa: BLE001 - whatever it is, it has to be told
            self.book.wrong.append(f"shutdown({wait}, {drops}) raised {error!r}")
        if wait and self._closers == 1:  # another may still be telling of what it has dropped
            early = [task for task in before if not task.future.done()]
            self.book.wrong += [f"shutdown has not waited for {task}" for task in early[:3]]

    def _drop(self, pool: Any) -> None:
        """Forget the pool while tasks run and wait."""
        self._pause()
        self._stop_players()
        del pool


class _Failing:
    """An initializer that raises from some call on."""

    def __init__(self, good: int) -> None:
        self._good = good

    def __call__(self) -> None:
        self._good -= 1
        if self._good < 0:
            msg = "the initializer was dealt that"
            raise stress_tasks.PlannedError(msg)


def state_of(pool: Any) -> str:
    """Say how a pool is doing."""
    return f"{pool!r} {pool.statistics() if hasattr(pool, 'statistics') else ''}"


def ended(thread: threading.Thread) -> bool:
    """Wait for a thread within the bound."""
    thread.join(BOUND_S)
    return not thread.is_alive()


def _of_others() -> set[threading.Thread]:
    """Return the threads that are nobody's fault: those that all process pools share."""
    return {thread for thread in threading.enumerate() if thread.name.startswith("whichever-crew")}


def available() -> list[str]:
    """Name the kinds of pools that this interpreter has."""
    names = []
    for name, kind in KINDS.items():
        try:
            getattr(whichever, kind.pool)(1).shutdown()
        except whichever.EngineUnavailableError:
            continue
        names.append(name)
    return names


def resident_mib() -> float:
    """Return this process's resident memory."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * 4096 / (1 << 20)


class Run:
    """One run of the program: rounds until the time is over."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self._options, self._folder = options, folder
        self._names = [name for name in [*available(), "ends"] if name in options.pool]
        self._shares = [KINDS[name].share if name in KINDS else ENDS_SHARE for name in self._names]
        self._rounds = self._moves = self._tasks = 0
        self._memory = 0.0

    def play(self) -> int:
        """Play rounds; return the exit code."""
        end = time.monotonic() + self._options.seconds
        seed = self._options.seed
        while time.monotonic() < end and self._rounds < self._options.rounds:
            name = random.Random(seed).choices(self._names, self._shares)[0]
            print(f"{seed} {name}", end=" ", flush=True)
            faulthandler.dump_traceback_later(5 * BOUND_S, exit=True)
            wrong = self._play(name, seed)
            if wrong:
                print("WRONG", *wrong[:SHOWN], sep="\n    ", flush=True)
                return 1
            print("ok", flush=True)
            self._rounds, seed = self._rounds + 1, seed + 1
        faulthandler.cancel_dump_traceback_later()
        print(
            f"{self._rounds} rounds, {self._moves} moves, {self._tasks} tasks:"
            " nothing lost, nothing twice, nobody waits, nothing left"
        )
        return 0

    def _play(self, name: str, seed: int) -> list[str]:
        if name == "ends":
            return stress_ends.play(seed, self._folder)
        played = Round(KINDS[name], seed, self._folder)
        wrong = played.run()
        self._moves, self._tasks = self._moves + played.moves, self._tasks + len(played.book.tasks)
        del played
        return wrong or self._leftovers()

    def _leftovers(self) -> list[str]:
        until(lambda: not left_behind(), 5.0)
        left = left_behind()
        memory = resident_mib()
        if self._rounds == WARM_ROUNDS:
            self._memory = memory
        wrong = [f"left behind: {dict(left)}"] if left else []
        if self._memory and memory > self._memory + GROWTH_MIB:
            wrong.append(f"memory has grown from {self._memory:.0f} to {memory:.0f} MiB")
        return wrong


def main() -> int:
    """Read the command line, run; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rounds", type=int, default=sys.maxsize)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--pool", action="append", choices=[*KINDS, "ends"])
    options = parser.parse_args()
    options.pool = options.pool or [*KINDS, "ends"]
    if options.seed is None:
        options.seed = random.SystemRandom().randrange(1 << 30)
    logging.disable()  # of callbacks that raise, as they were dealt
    gc.collect()
    with tempfile.TemporaryDirectory() as folder:
        return Run(options, Path(folder)).play()


if __name__ == "__main__":
    sys.exit(main())
