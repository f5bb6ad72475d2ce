"""What the tasks of random programs do: every kind of function a program may hand to a pool, and items for them.

A task notes that it runs by appending its item's key to a log, then takes its time, then answers with something that
depends on its item's value alone. So the same task with no log and no weight gives the same answer at once: that is
what plain ``map`` is asked for. `KINDS` makes a function of each kind, fresh, with what it is to have left behind.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import hashlib
import math
import os
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import random_nested

if TYPE_CHECKING:
    from collections.abc import Callable

TWICE = "~"
"""Begins the keys of tasks that may run a second time: their results turn out not to travel, after they ran."""
ROUNDS_PER_S = 20_000_000
LATE = 25
"""The position from which on items or results of the late kinds do not pickle: long after a choice was made."""
STATE: dict[str, int] = {}
"""What tasks of the kind ``writes_global`` write."""
inherited: contextvars.ContextVar[int] = contextvars.ContextVar("inherited", default=0)


@dataclass
class Item:
    """What one task is given.

    Attributes:
        log: The file to append the key to; empty for none.
        key: Unique in its program.
        value: What the answer depends on.
        weight: Seconds that the task takes.
        extra: Something more to carry: bytes, or a lock.
        answer: Where the kind ``writes_argument`` puts its answer.
    """

    log: str
    key: str
    value: int
    weight: float
    extra: Any = b""
    answer: int | None = None


@dataclass
class Function:
    """A function, and the keys that it has written down for its caller; None where it writes none."""

    fn: Callable[..., Any]
    written: Callable[[list[Item]], list[str]] | None = None
    answers: list[str] = field(default_factory=list)


class OddError(Exception):
    """Loads from its pickle only with a trick: its arguments are not those of its base."""

    def __init__(self, key: str, value: int) -> None:
        super().__init__(f"{key} of {value}")


class Point:
    """A result that compares by value."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Point) and other.value == self.value

    def __hash__(self) -> int:
        return self.value

    def __repr__(self) -> str:
        return f"Point({self.value})"


def begin(item: Item) -> None:
    """Note that the task runs."""
    if item.log:
        file = os.open(item.log, os.O_WRONLY | os.O_APPEND)
        try:
            os.write(file, item.key.encode() + b"\n")
        finally:
            os.close(file)


def compute(seconds: float) -> None:
    """Run Python code for about so long, by rounds: a clock would have every task end when the machine is slow."""
    for _ in range(int(seconds * ROUNDS_PER_S)):
        pass


def plain(item: Item, *more: int) -> int:
    """Do next to nothing."""
    begin(item)
    return item.value * 3 + sum(more)


def sleep(item: Item, *more: int) -> int:
    """Wait."""
    begin(item)
    time.sleep(item.weight)
    return item.value + sum(more)


def busy(item: Item, *more: int) -> int:
    """Compute in Python."""
    begin(item)
    compute(item.weight)
    return item.value - sum(more)


def mixed(item: Item) -> int:
    """Wait or compute, one after the other."""
    return sleep(item) if item.value % 2 else busy(item)


def phases(item: Item) -> int:
    """Wait in the first items, compute in the later ones."""
    return sleep(item) if item.value < LATE else busy(item)


def native(item: Item) -> str:
    """Compute without the GIL."""
    begin(item)
    if item.weight:
        hashlib.pbkdf2_hmac("sha256", b"word", b"salt", max(1, int(item.weight * 1_000_000)))
    return hashlib.sha256(b"%d" % item.value).hexdigest()


def raising(item: Item) -> int:
    """Raise now and then, errors of many kinds."""
    begin(item)
    time.sleep(item.weight)
    if item.value % 9 == 4:
        errors = (
            ValueError("no"),
            KeyError(item.value),
            OddError("odd", item.value),
            ArithmeticError(),
            SystemExit(3),
        )
        raise errors[item.value // 9 % len(errors)]
    return item.value


def odd(item: Item) -> Any:
    """Return things of every kind that pickle."""
    begin(item)
    compute(item.weight)
    things: tuple[Any, ...] = (
        None, math.nan, [item.value], {item.value: {1, 2}}, Point(item.value), ValueError("as a result"), plain,
        b"", (), frozenset({"a"}), 1 << 200, "\udcff", range(3), Ellipsis, NotImplemented,
    )  # fmt: skip
    return things[item.value % len(things)]


def unpicklable(item: Item) -> Any:
    """Return what cannot travel."""
    begin(item)
    time.sleep(item.weight)
    return (threading.Lock(), lambda: item.value, (n for n in range(item.value % 5)))[item.value % 3]


def late_result(item: Item) -> Any:
    """Return what cannot travel, but only for late items."""
    begin(item)
    compute(item.weight)
    return threading.Lock() if item.value >= LATE else item.value


def big_result(item: Item) -> bytes:
    """Return up to two megabytes."""
    begin(item)
    compute(item.weight)
    return bytes([item.value % 251]) * (item.value * 40_503 % 2_000_000)


def big_argument(item: Item) -> str:
    """Look at a large argument."""
    begin(item)
    compute(item.weight)
    return hashlib.sha256(item.extra).hexdigest()


def with_lock(item: Item) -> int:
    """Look at an argument that may hold a lock."""
    begin(item)
    compute(item.weight)
    if item.extra:
        with item.extra:
            return item.value
    return -item.value


def reads_context(item: Item) -> int:
    """Look at a context variable of who handed the task in."""
    begin(item)
    compute(item.weight)
    return inherited.get() + item.value


def writes_global(item: Item) -> int:
    """Leave the answer in a global, too."""
    begin(item)
    compute(item.weight)
    STATE[item.key] = item.value
    return item.value


def writes_argument(item: Item) -> None:
    """Leave the answer in the argument."""
    begin(item)
    compute(item.weight)
    item.answer = item.value


async def coroutine(item: Item) -> int:
    """Wait as a coroutine."""
    begin(item)
    await asyncio.sleep(item.weight)
    return item.value + 1


async def coroutine_computes(item: Item) -> int:
    """Compute in a coroutine, which holds the others up."""
    begin(item)
    await asyncio.sleep(0)
    compute(item.weight)
    return item.value + 2


class Worker:
    """An object with a method for a task."""

    def __init__(self, step: int) -> None:
        self.step = step

    def work(self, item: Item) -> int:
        """Be a method."""
        return plain(item) + self.step

    def __call__(self, item: Item) -> int:
        """Be a function all the same."""
        return busy(item) + self.step


class Guarded(Worker):
    """One that cannot travel."""

    def __init__(self, step: int) -> None:
        super().__init__(step)
        self.lock = threading.Lock()

    def work(self, item: Item) -> int:
        """Be a method that needs its object."""
        with self.lock:
            return super().work(item)


def nested(item: Item, depth: int) -> list[int]:
    """Use a pool inside a task."""
    begin(item)
    parts = [
        Item(item.log, f"{item.key}/{n}", item.value + n, item.weight / 4) for n in range(2 + item.value % 3)
    ]
    inner = functools.partial(nested, depth=depth - 1) if depth > 1 else mixed
    return random_nested.mapped(inner, parts)


def _closure() -> Function:
    step = 7

    def work(item: Item) -> int:
        return sleep(item) + step

    return Function(work)


def _closure_list() -> Function:
    found: list[str] = []

    def work(item: Item) -> int:
        found.append(item.key)
        return busy(item)

    return Function(work, lambda _: found)


def _closure_lock() -> Function:
    lock, found = threading.Lock(), dict[str, int]()

    def work(item: Item) -> int:
        begin(item)
        compute(item.weight)
        with lock:
            found[item.key] = item.value
        return item.value

    return Function(work, lambda _: list(found))


def _writes_global() -> Function:
    return Function(writes_global, lambda items: [item.key for item in items if item.key in STATE])


def _writes_argument() -> Function:
    return Function(writes_argument, lambda items: [item.key for item in items if item.answer is not None])


KINDS: dict[str, Callable[[], Function]] = {
    "plain": lambda: Function(plain),
    "sleep": lambda: Function(sleep),
    "busy": lambda: Function(busy),
    "mixed": lambda: Function(mixed),
    "phases": lambda: Function(phases),
    "native": lambda: Function(native),
    "raising": lambda: Function(raising),
    "odd": lambda: Function(odd),
    "unpicklable": lambda: Function(unpicklable),
    "late_result": lambda: Function(late_result),
    "big_result": lambda: Function(big_result),
    "big_argument": lambda: Function(big_argument),
    "late_argument": lambda: Function(with_lock),
    "context": lambda: Function(reads_context),
    "lambda": lambda: Function(lambda item: busy(item) * 2),
    "partial": lambda: Function(functools.partial(busy)),
    "method": lambda: Function(Worker(5).work),
    "callable": lambda: Function(Worker(6)),
    "guarded_method": lambda: Function(Guarded(5).work),
    "closure": _closure,
    "closure_list": _closure_list,
    "closure_lock": _closure_lock,
    "writes_global": _writes_global,
    "writes_argument": _writes_argument,
    "coroutine": lambda: Function(coroutine),
    "coroutine_computes": lambda: Function(coroutine_computes),
    "nested": lambda: Function(functools.partial(nested, depth=1)),
    "nested_twice": lambda: Function(functools.partial(nested, depth=2)),
}
"""Makes a function of each kind."""

ASYNC = frozenset({"coroutine", "coroutine_computes"})
NESTED = frozenset({"nested", "nested_twice"})
TAKES_MORE = frozenset({"plain", "sleep", "busy", "partial"})
"""Kinds whose functions take more arguments."""


def shape(result: Any) -> Any:
    """Turn a result into something that can be compared with another's."""
    if isinstance(result, float) and math.isnan(result):
        return "nan"
    if isinstance(result, BaseException):
        return type(result).__name__, str(result)
    if callable(result) and not isinstance(result, type):
        return "a function", result() if result is not plain else "plain"
    if hasattr(result, "send"):
        return "a generator", list(result)
    if hasattr(result, "acquire"):
        return "a lock"
    return result
