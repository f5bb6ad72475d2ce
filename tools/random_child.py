"""One random program, run as a user's: it makes its pool, does its acts, and says what is wrong.

    python tools/random_child.py SEED NUMBER FOLDER POOL

In FOLDER it writes ``log``, where its tasks write, ``begun`` when its pool is about to be made, and at its end
``told.json``. Whatever it writes on standard error is a finding, except where Ctrl-C came.
"""

from __future__ import annotations

import faulthandler
import gc
import itertools
import json
import os
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import census
import random_nested
import random_tasks
from random_acts import Told, perform
from random_plans import Plan, planned

HANGS_S = 40.0
"""A program that takes longer hangs: it shows every thread's stack and ends."""

SETTLES_S = 3.0
"""What a pool has used is gone within this."""


def play(plan: Plan, spec: str, log: str) -> Told:
    """Do the whole program once."""
    told = Told()
    pool = random_nested.made(spec, **_options(plan, spec))
    random_tasks.inherited.set(plan.number)
    if plan.leave == "with":
        with pool:
            _act(pool, plan, log, told)
    else:
        _act(pool, plan, log, told)
        if plan.leave != "dropped":
            pool.shutdown(wait=plan.leave == "shutdown")
    del pool
    gc.collect()
    return told


def _options(plan: Plan, spec: str) -> dict[str, Any]:
    if spec == random_nested.AUTO:
        return plan.pool
    return {"workers": plan.pool["workers"]}


def _act(pool: Any, plan: Plan, log: str, told: Told) -> None:
    for act in plan.acts:
        told.add(perform(pool, act, log))


def miscounted(told: Told, log: Path) -> list[str]:
    """Compare what has run with what was to run."""
    ran = Counter(key for key in log.read_text().split() if "/" not in key and "+" not in key)
    wrong = []
    if unknown := ran.keys() - told.once - told.at_most_once:
        wrong.append(f"{len(unknown)} tasks ran that nobody asked for: {sorted(unknown)[:5]}")
    if lost := [key for key in told.once if not ran[key]]:
        wrong.append(f"{len(lost)} tasks with a result never ran: {sorted(lost)[:5]}")
    return wrong + doubled(log)


def doubled(log: Path) -> list[str]:
    """Say which tasks ran more often than they may."""
    ran = Counter(log.read_text().split())
    if often := {key: times for key, times in ran.items() if times > (2 if random_tasks.TWICE in key else 1)}:
        return [f"{len(often)} tasks ran more than once: {sorted(often.items())[:5]}"]
    return []


def left_behind() -> list[str]:
    """Name the threads of Python that are there besides this one; idle ones get a moment to go."""
    others = [thread for thread in threading.enumerate() if thread is not threading.current_thread()]
    for thread in others:
        thread.join(5.0)
    alive = [thread.name for thread in others if thread.is_alive()]
    return [f"threads are left: {alive}"] if alive else []


def grown(plan: Plan, spec: str, log: Path) -> list[str]:
    """Play twice more, and name what there is more of after each time.

    What is made once and kept, such as the template of worker processes, may come with any time, but not with each.
    """
    found = [census.taken()]
    for _ in range(2):
        log.write_text("")
        random_tasks.STATE.clear()
        play(plan, spec, str(log))
        found.append(census.settled(found[-1], SETTLES_S))
    first, second = (after.more_than(before) for before, after in itertools.pairwise(found))
    more = {name: count for name, count in second.items() if name in first}
    return [f"each time leaves more behind: {more}"] if more else []


def main() -> None:
    """Run the program that the command line names."""
    seed, number, folder, spec = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]
    os.environ[random_nested.POOL_VARIABLE] = spec
    faulthandler.dump_traceback_later(HANGS_S, exit=True)
    plan, log = planned(seed, number), folder / "log"
    log.touch()
    (folder / "begun").touch()
    told = play(plan, spec, str(log))
    if plan.leave in ("with", "shutdown"):
        told.wrong += miscounted(told, log) + left_behind()
    if plan.thrice:
        told.wrong += grown(plan, spec, log)
    (folder / "told.json").write_text(json.dumps(told.wrong))


if __name__ == "__main__":
    main()
