"""What a random program does, drawn from its number: the same number gives the same program, on every machine."""

from __future__ import annotations

import math
import random
from dataclasses import asdict, dataclass
from typing import Any

import random_tasks

SOURCES = (
    "list",
    "list",
    "list",
    "tuple",
    "deque",
    "generator",
    "generator",
    "endless",
    "breaking",
    "two",
    "uneven two",
)
"""Where a map's items come from; a list more often than anything else."""
READS = ("all", "all", "all", "all", "slow", "drop", "close", "unread")
LEAVES = ("with", "with", "with", "shutdown", "no wait", "dropped")
ACTS = ("map", "map", "map", "map", "map", "submits", "submits", "threads", "asyncio")
SUBMITTED = (
    "plain",
    "sleep",
    "busy",
    "native",
    "raising",
    "odd",
    "lambda",
    "closure",
    "method",
    "writes_argument",
)
MOST_TASKS = 3000
MOST_COROUTINES = 300
INTERRUPTED_SHARE = 0.2
LONG_SHARE = 0.12
THRICE_SHARE = 0.08
TINY_TIMEOUT_S = 0.05
LONG_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Act:
    """One thing a program does with its pool.

    Attributes:
        name: Begins its items' keys.
        what: One of `ACTS`.
        kind: The function's kind, for a map or coroutines; `submits` draws one for each task.
        count: How many tasks.
        weights: Seconds of each, as many as tasks.
        source, read: One of `SOURCES` and `READS`.
        taken: Results that are read where not all are.
        options: Keyword arguments of `map`.
        cancels: Positions of submitted tasks that are cancelled at once.
        parts: What the threads do.
    """

    name: str
    what: str
    kind: str
    count: int
    weights: tuple[float, ...]
    source: str = "list"
    read: str = "all"
    taken: int = 0
    options: dict[str, Any] | None = None
    cancels: frozenset[int] = frozenset()
    parts: tuple[Act, ...] = ()


@dataclass(frozen=True)
class Plan:
    """A whole program.

    Attributes:
        number: Its number under its seed.
        pool: Keyword arguments of the automatic pool.
        acts: What it does, one after the other.
        leave: How it leaves the pool.
        interrupt: Seconds from its beginning to Ctrl-C; None for none.
        thrice: Whether all of it is done three times, to see whether each time leaves something behind.
    """

    number: int
    pool: dict[str, Any]
    acts: tuple[Act, ...]
    leave: str
    interrupt: float | None
    thrice: bool

    def shown(self) -> str:
        """Describe it, without the weights of all its tasks."""
        head = f"{self.number}: {self.pool}, leave {self.leave}, interrupt {self.interrupt}, thrice {self.thrice}"
        return "\n".join((head, *(f"    {_shown(act)}" for act in self.acts)))


def _shown(act: Act) -> str:
    kept = {key: value for key, value in asdict(act).items() if value and key not in ("weights", "parts")}
    return f"{kept}, {sum(act.weights):.2f} s" + "".join(f"\n        {_shown(part)}" for part in act.parts)


def planned(seed: int, number: int) -> Plan:
    """Draw the program of a number."""
    dice = random.Random(f"{seed}:{number}")
    interrupted = dice.random() < INTERRUPTED_SHARE
    long = interrupted or dice.random() < LONG_SHARE
    acts = tuple(_act(dice, f"{number}.{place}", long=long) for place in range(dice.choice([1, 1, 2, 3])))
    return Plan(
        number=number,
        pool=_pool(dice),
        acts=acts,
        leave=dice.choice(LEAVES),
        interrupt=dice.uniform(0.0, 1.2) if interrupted else None,
        thrice=not interrupted and not long and dice.random() < THRICE_SHARE,
    )


def _pool(dice: random.Random) -> dict[str, Any]:
    options: dict[str, Any] = {"workers": dice.choice([None, None, None, 1, 2, 3, 16])}
    if dice.random() < 0.2:
        options["engines"] = dice.choice(
            [["threads", "serial"], ["processes", "serial"], ["threads", "processes"]]
        )
    if dice.random() < 0.3:
        options["seed"] = dice.randrange(1000)
    return options


def _act(dice: random.Random, name: str, *, long: bool, whole: bool = True) -> Act:
    what = dice.choice(ACTS if whole else ACTS[:-2])
    seconds = dice.uniform(1.5, 2.5) if long else math.exp(dice.uniform(math.log(0.005), math.log(0.5)))
    if what == "threads":
        parts = tuple(_act(dice, f"{name}t{n}", long=False, whole=False) for n in range(dice.randint(2, 4)))
        return Act(name, what, "", 0, (), parts=parts)
    if what == "map":
        return _map(dice, name, seconds)
    count = min(_count(dice), MOST_COROUTINES)
    weights = _weights(dice, count, seconds)
    if what == "asyncio":
        return Act(
            name,
            what,
            dice.choice(["plain", "sleep", "busy", "native", "raising", "coroutine"]),
            count,
            weights,
        )
    cancels = frozenset(n for n in range(count) if dice.random() < 0.1)
    return Act(
        name, what, "", count, weights, read=dice.choice(["result", "wait", "as_completed"]), cancels=cancels
    )


def _map(dice: random.Random, name: str, seconds: float) -> Act:
    kind = dice.choice(list(random_tasks.KINDS))
    source = dice.choice(SOURCES)
    if source in ("two", "uneven two") and kind not in random_tasks.TAKES_MORE:
        source = "list"
    count = min(_count(dice), 12) if kind in random_tasks.NESTED or kind.startswith("big") else _count(dice)
    read = dice.choice(READS)
    if source == "endless":
        read, count = dice.choice(["drop", "close"]), max(count, 1)
    options: dict[str, Any] = {}
    if dice.random() < 0.25:
        options["ordered"] = False
    if dice.random() < 0.25:
        options["buffersize"] = dice.choice([1, 2, 5, 20, 1000])
    if dice.random() < 0.2:
        options["chunksize"] = dice.choice([1, 3, 50])
    if dice.random() < 0.2:
        options["timeout"] = dice.choice([TINY_TIMEOUT_S, LONG_TIMEOUT_S])
    return Act(
        name, "map", kind, count, _weights(dice, count, seconds), source=source, read=read,
        taken=dice.randint(0 if source != "endless" else 1, count), options=options,
    )  # fmt: skip


def _count(dice: random.Random) -> int:
    if dice.random() < 0.05:
        return 0
    return int(math.exp(dice.uniform(0.0, math.log(MOST_TASKS if dice.random() < 0.2 else 80))))


def _weights(dice: random.Random, count: int, seconds: float) -> tuple[float, ...]:
    """Share some seconds out to tasks: evenly, or with a few long ones."""
    if dice.random() < 0.7:
        return (seconds / max(1, count),) * count
    shares = [dice.paretovariate(0.8) for _ in range(count)]
    return tuple(min(seconds * share / sum(shares), seconds / 2) for share in shares)
