"""Tasks that some engines would change the meaning of: they write state, or carry what cannot travel."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from workloads.tasks.waiting import busy_loop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from workloads.registry import Prepared

_ROUNDS = 150_000
_COUNT = 100

cache: dict[int, int] = {}


class Account:
    """A balance behind a lock, as threaded programs keep it."""

    def __init__(self, balance: int) -> None:
        self.balance = balance
        self.lock = threading.Lock()


def compute_with_account(account: Account) -> int:
    with account.lock:
        return account.balance + busy_loop(_ROUNDS)


def compute_cached(number: int) -> int:
    """Keep the result in a global, for a caller who looks it up later."""
    cache[number] = busy_loop(_ROUNDS + number)
    return cache[number]


def fill_in(order: dict[str, int]) -> None:
    """Write the result into the argument and return nothing."""
    order["total"] = busy_loop(_ROUNDS + order["id"])


def make_callback(number: int) -> Callable[[], int]:
    """Return what does not pickle: a function made inside, with a lock in its closure."""
    lock, value = threading.Lock(), busy_loop(_ROUNDS + number)

    def callback() -> int:
        with lock:
            return value

    return callback


@contextmanager
def prepare_unpicklable_argument() -> Prepared:
    yield compute_with_account, [Account(number) for number in range(_COUNT)]


@contextmanager
def prepare_unpicklable_result() -> Prepared:
    yield make_callback, list(range(_COUNT))


@contextmanager
def prepare_writes_global() -> Prepared:
    cache.clear()
    try:
        yield compute_cached, list(range(_COUNT))
    finally:
        cache.clear()


@contextmanager
def prepare_writes_argument() -> Prepared:
    yield fill_in, [{"id": number} for number in range(_COUNT)]


@contextmanager
def prepare_closure_lock() -> Prepared:
    lock, printed = threading.Lock(), {"lines": 0}

    def compute(number: int) -> int:
        value = busy_loop(_ROUNDS + number)
        with lock:
            return value + 0 * printed["lines"]

    yield compute, list(range(_COUNT))


@contextmanager
def prepare_closure_list() -> Prepared:
    found: list[int] = []

    def compute(number: int) -> int:
        found.append(busy_loop(_ROUNDS + number))
        return len(found)

    yield compute, list(range(_COUNT))


@contextmanager
def prepare_closure_counter() -> Prepared:
    done = 0

    def compute(number: int) -> int:
        nonlocal done
        value = busy_loop(_ROUNDS + number)
        done += 1
        return value + done

    yield compute, list(range(_COUNT))


@contextmanager
def prepare_closure_generator() -> Prepared:
    def seeds() -> Iterator[int]:
        yield from range(1_000_000)

    source = seeds()

    def compute(number: int) -> int:
        return busy_loop(_ROUNDS + number) + next(source)

    yield compute, list(range(_COUNT))


@contextmanager
def prepare_lambda() -> Prepared:
    yield (
        lambda number: sum(value * value % 7 for value in range(number)),
        [_ROUNDS + number for number in range(_COUNT)],
    )
