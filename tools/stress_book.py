"""What was handed in to a pool under stress, and whether that became of it what had to.

A task that was not cancelled has run once, and its future has its outcome; one that was cancelled has not run, or, in a
pool that stops tasks, at most once; one that was refused has not. Each callback was called once. What a `map` gave is
right and in order, and what it was dropped with has run or not, as its promise is.
"""

from __future__ import annotations

import gc
import threading
import time
from collections import Counter
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import stress_tasks

import whichever

if TYPE_CHECKING:
    from collections.abc import Callable

BOUND_S = 40.0
"""Seconds after which somebody who still waits has been forgotten."""
SHOWN = 10
"""Findings of one round that are told."""


@dataclass(eq=False)
class Handed:
    """A task that was handed in.

    Attributes:
        number: Which it is.
        kind: What it was dealt.
        future: Its future, once it has one; None for ever if it was refused.
        by_hand: Whether somebody tried to settle it by hand.
        due: The callbacks that were added.
        called: Those that were called.
    """

    number: int
    kind: str
    future: Any = None
    by_hand: bool = False
    due: list[int] = field(default_factory=list)
    called: list[int] = field(default_factory=list)


@dataclass(eq=False)
class Mapped:
    """A call of `map`.

    Attributes:
        first: The number of its first task.
        count: How many it has at most.
        how: What was asked and is done with it.
        may_miss: Whether tasks may be left out: it was not read to its end.
        raised: The kind of what it raised; the thing itself, or its context, may hold the pool.
    """

    first: int
    count: int
    how: str
    may_miss: bool = True
    raised: type[BaseException] | None = None


@dataclass
class Promises:
    """What a kind of pool promises.

    Attributes:
        stops: Whether it stops tasks that run.
        may_break: Whether its initializer may raise.
        drops: Whether its end may have dropped what had not started.
    """

    stops: bool = False
    may_break: bool = False
    drops: bool = False


@dataclass
class Book:
    """Everything of one round. Many threads write; lists take that."""

    notes: Any
    tasks: list[Handed] = field(default_factory=list)
    refused: list[Handed] = field(default_factory=list)
    maps: list[Mapped] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def judge(self, promises: Promises) -> list[str]:
        """Say what is wrong, once nobody does anything any more."""
        for task in self.tasks:  # to which callbacks may still add
            if not until(lambda task=task: task.future.done() and len(task.called) >= len(task.due)):  # type: ignore[misc]
                return [*self.wrong, f"{task} waits for ever"]
        runs = self.notes.counts()
        for task in self.tasks:
            if why := why_wrong(task, runs[task.number], promises):
                self.wrong.append(f"{task}, which has run {runs[task.number]} times: {why}")
        self.wrong += [f"{task} was refused and has run" for task in self.refused if runs[task.number]]
        for mapped in self.maps:
            self._judge_map(mapped, runs, promises)
        return self.wrong

    def _judge_map(self, mapped: Mapped, runs: Counter[int], promises: Promises) -> None:
        if mapped.raised is CancelledError and not promises.drops:
            self.wrong.append(f"{mapped}: nobody cancelled that")
        numbers = range(mapped.first, mapped.first + mapped.count)
        twice = [number for number in numbers if runs[number] > 1]
        if twice:
            self.wrong.append(f"{mapped}: {twice[:5]} have run twice")
        missed = [number for number in numbers if not runs[number]]
        if missed and not (mapped.may_miss or promises.drops or promises.may_break):
            self.wrong.append(f"{mapped}: {missed[:5]} have not run")


def why_wrong(task: Handed, runs: int, promises: Promises) -> str | None:
    """Say what is wrong with a task that is done, if anything is."""
    if Counter(task.due) != Counter(task.called):
        return f"of its callbacks {task.due} were called {task.called}"
    future = task.future
    if future.cancelled():
        return "it was cancelled and has run" if runs > promises.stops else None
    error = future.exception(0)
    if isinstance(error, whichever.PoolBrokenError) and promises.may_break:
        return "the pool was broken, and yet it has run" if runs else None
    if task.by_hand and runs <= 1:
        return None
    if runs != 1:
        return "it is done"
    if task.kind == "raise":
        right = isinstance(error, stress_tasks.PlannedError) and error.args == (task.number,)
    else:
        right = error is None and future.result(0).number == task.number
    return None if right else f"its outcome is {future!r}"


def until(condition: Callable[[], object], seconds: float = BOUND_S) -> bool:
    """Wait for something that no event tells of; False when it does not come within the bound."""
    end = time.monotonic() + seconds
    pause = threading.Event()
    while not condition():
        if time.monotonic() > end:
            return False
        pause.wait(0.002)
    return True


def left_behind() -> Counter[str]:
    """Count what a round that is forgotten must not leave: futures and results of tasks."""
    gc.collect()
    kinds = (whichever.Future, stress_tasks.Tracked)
    return Counter(type(thing).__name__ for thing in gc.get_objects() if isinstance(thing, kinds))
