"""Random programs on a pool: each must give what plain ``map`` gives, run each task once, and leave nothing behind.

    random_programs.py [--count 1000] [--seed 1] [--only N] [--show] [--pool whichever:Pool] [--jobs 2]

A program (`random_plans` draws it from its number) maps and submits functions of every kind: that wait, compute, raise,
carry what does not pickle, write for their caller, use pools themselves; ordered or not, from lists, generators and
endless iterators; read to the end or given up; from several threads; from an event loop. A good part of them is
interrupted by Ctrl-C at a random instant, and must be gone at once. Every program is a process of its own.

A program that fails is named with the line that runs it again. The exit code is 1 if one does.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benches._children import any_alive, end_group
from random_child import HANGS_S, doubled
from random_nested import AUTO
from random_plans import Plan, planned

CHILD = Path(__file__).resolve().with_name("random_child.py")
STARTS_S = 30.0
GONE_S = 3.0
"""After the program's end its processes are gone within this."""
UNREAD = re.compile(r"RuntimeWarning: map\(\) was dropped before its results were read")
EXPECTED = re.compile(
    r"map\(\) was dropped before its results were read|does not pickle|cannot pickle|cannot be pickled"
)
"""Warnings that a program of this kind may cause."""


@dataclass(frozen=True)
class Played:
    """One program that was run.

    Attributes:
        number: Its number.
        wrong: What was wrong, in words.
        hit: Whether Ctrl-C came while it ran.
        ended_s: Seconds from Ctrl-C to its end.
    """

    number: int
    wrong: tuple[str, ...]
    hit: bool = False
    ended_s: float = 0.0


class Player:
    """Runs programs.

    Args:
        seed: Of all programs.
        pool: The class they use, as MODULE:CLASS.
        patience: Seconds in which a program must end after Ctrl-C.
    """

    def __init__(self, seed: int, pool: str, patience: float) -> None:
        self._seed, self._pool, self._patience = seed, pool, patience

    def play(self, number: int) -> Played:
        """Run one program to its end."""
        plan = planned(self._seed, number)
        with tempfile.TemporaryDirectory(prefix="random-program-") as folder:
            return self._play(plan, Path(folder))

    def _play(self, plan: Plan, folder: Path) -> Played:
        command = [
            sys.executable,
            "-W",
            "always",
            str(CHILD),
            *map(str, (self._seed, plan.number, folder, self._pool)),
        ]
        with (folder / "said").open("w+b") as said:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
                cwd=folder,
            )
            try:
                hit_at = self._interrupt(child, plan, folder) if plan.interrupt is not None else None
                ended = self._await_end(child, hit_at)
                gone = _is_gone(child.pid)
            finally:
                end_group(child.pid)
                child.wait()
            said.seek(0)
            text = said.read().decode(errors="replace")
        wrong = [] if gone else ["processes are left behind"]
        if not ended:
            wrong.append(
                "does not end" if hit_at is None else f"does not end within {self._patience} s of Ctrl-C"
            )
        passed = 0.0 if hit_at is None else time.monotonic() - hit_at
        told = folder / "told.json"
        finished = told.exists()
        wrong += json.loads(told.read_text()) if finished else []
        wrong += doubled(folder / "log") if (folder / "log").exists() else []
        wrong += self._judge_end(child.returncode, text, finished=finished, hit=hit_at is not None)
        return Played(plan.number, tuple(dict.fromkeys(wrong)), hit_at is not None and not finished, passed)

    def _interrupt(self, child: subprocess.Popen[bytes], plan: Plan, folder: Path) -> float | None:
        """Press Ctrl-C when it is time; None if the program was faster."""
        end = time.monotonic() + STARTS_S
        while not (folder / "begun").exists() and child.poll() is None and time.monotonic() < end:
            time.sleep(0.002)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(plan.interrupt)
            return None
        if (folder / "told.json").exists():
            return None
        os.killpg(child.pid, signal.SIGINT)
        return time.monotonic()

    def _await_end(self, child: subprocess.Popen[bytes], hit_at: float | None) -> bool:
        try:
            child.wait(HANGS_S + STARTS_S if hit_at is None else self._patience)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _judge_end(self, code: int, said: str, *, finished: bool, hit: bool) -> list[str]:
        # A map over a generator that Ctrl-C left unread says so when it goes, with the traceback that held it.
        lines = [line for line in said.splitlines() if line.strip() and not UNREAD.search(line)]
        if hit:
            if finished:  # Ctrl-C came when all was done
                return []
            # 1: another thread has executed a string (a dataclass does) since Ctrl-C, and CPython has forgotten it.
            if code in (-signal.SIGINT, 1) and lines and lines[-1].startswith("KeyboardInterrupt"):
                return []
            return [f"Ctrl-C ends it with exit code {code}: {said[-1500:]}"]
        unexpected = [line for line in lines if not _is_expected(line)]
        if code != 0 or not finished:
            return [f"exit code {code}: {said[-3000:]}"]
        return [f"says on standard error: {said[-1500:]}"] if unexpected else []


def _is_expected(line: str) -> bool:
    """Say whether a line of a warning is one that may come; the line of source below it is indented."""
    return line.startswith("  ") or EXPECTED.search(line) is not None


def _is_gone(group: int) -> bool:
    end = time.monotonic() + GONE_S
    while any_alive(group):
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def main() -> int:
    """Run programs; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0, help="the first program's number")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, help="the number of one program")
    parser.add_argument("--show", action="store_true", help="describe the programs instead of running them")
    parser.add_argument(
        "--pool", default=AUTO, help="MODULE:CLASS of another pool that keeps what programs mean"
    )
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--patience", type=float, default=1.0, help="seconds from Ctrl-C to a program's end")
    options = parser.parse_args()
    numbers = range(options.first, options.first + options.count) if options.only is None else [options.only]
    if options.show:
        print(*(planned(options.seed, number).shown() for number in numbers), sep="\n")
        return 0
    player = Player(options.seed, options.pool, options.patience)
    begin = time.monotonic()
    failed, hits = [], []
    with ThreadPoolExecutor(options.jobs) as workers:
        for played in workers.map(player.play, numbers):
            if played.hit:
                hits.append(played.ended_s)
            if played.wrong:
                failed.append(played.number)
                print(
                    f"program {played.number} (random_programs.py --seed {options.seed} --only {played.number}):"
                )
                print(*(f"    {text}" for text in played.wrong), sep="\n", flush=True)
    slowest = f", gone {max(hits):.2f} s after it at most" if hits else ""
    print(
        f"{len(numbers)} programs of seed {options.seed} in {time.monotonic() - begin:.0f} s, {len(hits)} ended by "
        f"Ctrl-C{slowest}: {len(failed)} failed{': ' if failed else ''}{', '.join(map(str, failed))}"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
