"""Rounds of the pools' stress that are programs of their own: they meet Ctrl-C, end while tasks run and wait, or fork.

    stress_ends.py HOW POOL SEED FOLDER        what such a program runs; `play` starts it

* ``interrupt``: a program that waits in all ways for tasks, without end, gets SIGINT at a random instant, now and then
  a second one. It must end by it, soon.
* ``exit``: a program ends with tasks that run and wait. Each that was handed in has run once when it has.
* ``fork``: a program forks at random instants while other threads use the pool, and the children use it too.

None may crash, hang, or say more than one traceback of one Ctrl-C.
"""

from __future__ import annotations

import contextlib
import faulthandler
import itertools
import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time
import warnings
from concurrent import futures
from pathlib import Path
from typing import TYPE_CHECKING, Any

import stress_tasks
from stress_book import BOUND_S

import whichever

if TYPE_CHECKING:
    from collections.abc import Callable

HOWS = ("interrupt", "interrupt", "exit", "fork")
POOLS = ("ThreadPool", "ThreadPool", "ThreadPool", "AsyncPool", "ProcessPool")
CHILDREN = 5
"""How often a program forks."""
DROPPED = "Exception ignored in"
BAD = ("Fatal Python error", "panicked", "Segmentation", "FATAL")


def play(seed: int, folder: Path) -> list[str]:
    """Run one such program; say what is wrong."""
    dice = random.Random(seed)
    how, pool = dice.choice(HOWS), dice.choice(POOLS)
    own = folder / f"end-{seed}"
    own.mkdir()
    command = [sys.executable, "-X", "faulthandler", __file__, how, pool, str(seed), str(own)]
    program = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0
    )
    first = program.stdout.readline() if program.stdout else ""
    if how == "interrupt" and first:
        for _ in range(dice.choice([1, 1, 2])):
            threading.Event().wait(dice.choice([0.0, 0.01, 0.3]) * dice.random())
            program.send_signal(signal.SIGINT)
    ended, out, err = await_end(program, how)
    if not ended:
        return [f"{how} {pool}: it does not end:\n{err}"]
    wrong = [f"{how} {pool}: exit code {program.returncode}, says {out!r}:\n{err}"]
    if any(word in err for word in BAD) or program.returncode not in codes(how):
        return wrong
    return [] if how == "interrupt" else judge_runs(how, own) or ([] if not err else wrong)


def await_end(program: subprocess.Popen[str], how: str) -> tuple[bool, str, str]:
    """Wait for its end; say whether it came, and what the program said."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        return True, *program.communicate(timeout=BOUND_S)
    if how == "interrupt":
        program.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            out, err = program.communicate(timeout=BOUND_S)
            # Python drops what a signal handler raises in a destructor, the program's own too, and says so.
            return DROPPED in err, out, err
    program.send_signal(signal.SIGABRT)  # faulthandler tells where all threads are
    return False, *program.communicate()


def codes(how: str) -> tuple[int, ...]:
    """Return the exit codes that are right."""
    return (-signal.SIGINT, 130) if how == "interrupt" else (0,)


def judge_runs(how: str, folder: Path) -> list[str]:
    """Compare what was handed in with what has run."""
    handed = stress_tasks.FileNotes(str(folder / "handed")).counts()
    runs = stress_tasks.FileNotes(str(folder / "runs")).counts()
    lost = sorted(set(handed) - set(runs))[:5]
    twice = [number for number, times in runs.items() if times > 1][:5]
    return [f"{how}: {lost} have not run, {twice} have run twice"] if lost or twice else []


class Program:
    """The program's side."""

    def __init__(self, pool: str, seed: int, folder: Path) -> None:
        self.dice = random.Random(seed)
        self.runs = stress_tasks.FileNotes(str(folder / "runs"))
        self.handed = stress_tasks.FileNotes(str(folder / "handed"))
        self.make = getattr(whichever, pool)
        self.task: Callable[..., Any] = stress_tasks.play
        if pool == "AsyncPool":
            self.task = stress_tasks.play_async
        self.pool = self.make(self.dice.choice([1, 2, 4]))
        self.numbers = itertools.count()

    def hand_in(self) -> Any:
        """Submit a task that runs whatever happens, and note it."""
        number = next(self.numbers)
        future = self.pool.submit(self.task, self.runs, number, self.dice.choice(["value", "sleep", "raise"]))
        self.handed.append(number)
        return future

    def interrupt(self) -> None:
        """Wait for tasks in all ways, until Ctrl-C."""
        waits = (
            self._result,
            self._map,
            self._wait,
            self._as_completed,
            self._shut_down,
            self._with,
            self._sleep,
        )
        print("go", flush=True)
        while True:
            self.dice.choice(waits)()

    def _some(self) -> list[Any]:
        return [self.hand_in() for _ in range(self.dice.choice([1, 5, 100]))]

    def _result(self) -> None:
        for future in self._some():
            future.exception()

    def _map(self) -> None:
        numbers = [next(self.numbers) for _ in range(100)]
        many = self.pool.map(
            self.task, [self.runs] * 100, numbers, ["sleep"] * 100, ordered=self.dice.random() < 0.5
        )
        list(many)

    def _wait(self) -> None:
        futures.wait(self._some())

    def _as_completed(self) -> None:
        list(futures.as_completed(self._some()))

    def _shut_down(self) -> None:
        self._some()
        self.pool.shutdown()
        self.pool = self.make(2)

    def _with(self) -> None:
        self.pool.shutdown()  # a pool that is dropped is ended by a finalizer, which Python lets nobody interrupt
        with self.make(2) as self.pool:
            self._some()
        self.pool = self.make(2)

    def _sleep(self) -> None:
        self._some()
        time.sleep(0.01)

    def exit(self) -> None:
        """End with tasks that run and wait, while another thread goes on handing in."""
        print("go", flush=True)
        for future in self._some():
            if self.dice.random() < 0.2:
                future.add_done_callback(self._hand_in_more)
        if self.dice.random() < 0.5:
            thread = threading.Thread(target=self._flood, daemon=self.dice.random() < 0.5)
            thread.start()
        numbers = [next(self.numbers) for _ in range(20)]
        self.pool.map(self.task, [self.runs] * 20, numbers, ["sleep"] * 20)
        for number in numbers:
            self.handed.append(number)
        if self.dice.random() < 0.3:
            self.pool = None
        if self.dice.random() < 0.3:
            raise SystemExit(0)

    def _hand_in_more(self, _future: object) -> None:
        with contextlib.suppress(RuntimeError, AttributeError):  # the end has begun; the pool was dropped
            self.hand_in()

    def _flood(self) -> None:
        with contextlib.suppress(RuntimeError, AttributeError):
            for _ in range(10_000):
                self.hand_in()

    def fork(self) -> None:
        """Fork while others use the pool."""
        print("go", flush=True)
        ending = threading.Event()
        users = [threading.Thread(target=self._use, args=(ending,), daemon=True) for _ in range(2)]
        for user in users:
            user.start()
        for _ in range(CHILDREN):
            threading.Event().wait(self.dice.random() * 0.02)
            child = os.fork()
            if not child:
                self._be_child()
            if status := wait_for(child):
                print(f"the child's status is {status}", file=sys.stderr)
                os._exit(1)
        ending.set()
        for user in users:
            user.join(BOUND_S)
        self.pool.shutdown()

    def _use(self, ending: threading.Event) -> None:
        own = random.Random(threading.get_native_id())
        while not ending.is_set():
            handed = [self.hand_in() for _ in range(own.choice([1, 5, 30]))]
            if own.random() < 0.5:
                handed[0].add_done_callback(lambda _: None)
            futures.wait(handed, BOUND_S)

    def _be_child(self) -> None:
        """Use the pool that was inherited, where it can be, and one of one's own; then end, politely or not."""
        faulthandler.dump_traceback_later(BOUND_S / 2, exit=True)
        with contextlib.suppress(RuntimeError):  # a pool that belongs to its parent says so
            self.pool.submit(self.task, Nowhere(), 0, "value").result(BOUND_S)
        with contextlib.suppress(RuntimeError):
            assert len(list(self.pool.map(self.task, [Nowhere()] * 5, range(5), ["value"] * 5))) == 5  # noqa: S101
        with self.make(1) as pool:
            assert pool.submit(self.task, Nowhere(), 1, "value").result(BOUND_S).number == 1  # noqa: S101
        if self.dice.random() < 0.5:
            os._exit(0)
        sys.exit(0)


class Nowhere:
    """Notes of tasks that nobody counts."""

    def append(self, number: int) -> None:
        """Forget it."""


def wait_for(child: int) -> int:
    """Return the exit status of a process; -1 when it does not end within the bound."""
    end = time.monotonic() + BOUND_S
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        threading.Event().wait(0.001)
    os.kill(child, signal.SIGABRT)
    return -1


def main() -> None:
    """Be such a program."""
    how, pool, seed, folder = sys.argv[1:]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever started us
    logging.disable()
    warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
    getattr(Program(pool, int(seed), Path(folder)), how)()


if __name__ == "__main__":
    main()
