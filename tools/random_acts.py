"""Does one act of a random program with a pool, and compares what comes out with what plain ``map`` gives.

Each act answers with what is wrong, in words, and with how often each of its tasks was to run.
"""

from __future__ import annotations

import asyncio
import inspect
import itertools
import threading
import time
import traceback
from collections import Counter, deque
from concurrent import futures
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import random_tasks
from random_plans import LONG_TIMEOUT_S, SUBMITTED, TINY_TIMEOUT_S, Act
from random_tasks import KINDS, LATE, TWICE, Function, Item

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Outcome = tuple[str, Any]
"""``returned`` or ``raised``, and what, in a form that can be compared."""
SLOW_READER_S = 0.002


class SourceError(Exception):
    """What an iterable raises in the middle."""


@dataclass
class Told:
    """What came of an act.

    Attributes:
        wrong: What is wrong, in words.
        once: Keys of tasks that have run once by now, or will have when the pool has ended.
        at_most_once: Keys of tasks that may not have run.
    """

    wrong: list[str] = field(default_factory=list)
    once: set[str] = field(default_factory=set)
    at_most_once: set[str] = field(default_factory=set)

    def add(self, other: Told) -> None:
        """Take over what came of another act."""
        self.wrong += other.wrong
        self.once |= other.once
        self.at_most_once |= other.at_most_once


def perform(pool: Any, act: Act, log: str) -> Told:
    """Do one act."""
    doing: dict[str, Callable[[Any, Act, str], Told]] = {
        "map": do_map, "submits": do_submits, "threads": do_threads, "asyncio": do_asyncio,
    }  # fmt: skip
    told = doing[act.what](pool, act, log)
    told.wrong = [f"{act.what} {act.name} ({act.kind or 'many kinds'}): {text}" for text in told.wrong]
    return told


def items_of(act: Act, log: str) -> list[Item]:
    """Make the items; without a log they take no time."""
    mark = TWICE if act.kind in ("late_result", "unpicklable") else ""
    items = [
        Item(log, f"{mark}{act.name}.{n}", n, weight if log else 0.0) for n, weight in enumerate(act.weights)
    ]
    for n, item in enumerate(items):
        if act.kind == "big_argument":
            item.extra = bytes([n % 251]) * (n * 40_503 % 2_000_000)
        elif act.kind == "late_argument" and n >= LATE:
            item.extra = threading.Lock()
    return items


def outcome(fn: Callable[..., Any], arguments: tuple[Any, ...]) -> Outcome:
    """Say what plain ``map`` would give for one item."""
    try:
        result = fn(*arguments)
        return "returned", random_tasks.shape(asyncio.run(result) if inspect.iscoroutine(result) else result)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - SystemExit, too
        return "raised", random_tasks.shape(error)


def place_of(error: BaseException | None) -> str:
    """Say where an error was raised, for who has to find out why."""
    frames = traceback.extract_tb(error.__traceback__)[-4:] if error is not None else []
    return "".join(f", {frame.filename}:{frame.lineno} {frame.name}" for frame in frames)


# A map


def do_map(pool: Any, act: Act, log: str) -> Told:
    """Map, read what is to be read, compare."""
    if act.kind in random_tasks.ASYNC and not hasattr(pool, "amap"):
        act = replace(act, kind="sleep")  # only the automatic pool knows what to do with coroutine functions
    function = KINDS[act.kind]()
    items = items_of(act, log)
    plain = zip(*columns(act, items_of(act, "")), strict=False)
    expected = [outcome(KINDS[act.kind]().fn, arguments) for arguments in plain]
    got, end = _read(pool, act, function.fn, sources(act, items))
    told = Told([text + place_of(end) for text in _judged(act, expected, got, end)])
    used = {item.key for item in items}
    taken = {items[n].key for n in range(len(got))} if (act.options or {}).get("ordered", True) else set()
    told.once = set(used) if end is None and len(got) == len(expected) == len(items) else taken
    told.at_most_once = used - told.once
    if function.written is not None and end is None and len(got) == len(items):
        told.wrong += _unwritten(function, items)
    return told


def columns(act: Act, items: list[Item]) -> list[list[Any]]:
    """Give the arguments of a map, one list for each of its iterables."""
    if act.source == "two":
        return [items, list(range(len(items)))]
    if act.source == "uneven two":
        return [items, list(range(len(items) // 2)), list(range(len(items)))]
    return [list(items)]


def sources(act: Act, items: list[Item]) -> list[Iterable[Any]]:
    """Turn the arguments into iterables of the kind that the act wants."""
    first, *more = columns(act, items)
    made: dict[str, Callable[[], Iterable[Any]]] = {
        "tuple": lambda: tuple(first),
        "deque": lambda: deque(first),
        "generator": lambda: (item for item in first),
        "endless": lambda: itertools.chain(first, _endless(items[-1])),
        "breaking": lambda: _breaking(first),
    }
    return [made.get(act.source, lambda: first)(), *(iter(column) for column in more)]


def _endless(last: Item) -> Iterator[Item]:
    for n in itertools.count(last.value + 1):
        yield replace(last, key=f"{last.key}+{n}", value=n)


def _breaking(items: list[Item]) -> Iterator[Item]:
    yield from items
    raise SourceError


def _read(
    pool: Any, act: Act, fn: Any, iterables: list[Iterable[Any]]
) -> tuple[list[Outcome], BaseException | None]:
    """Map and read; give the results and what ended them, if that was an error."""
    got: list[Outcome] = []
    most = act.taken if act.read in ("drop", "close") else 0 if act.read == "unread" else None
    try:
        results = pool.map(fn, *iterables, **(act.options or {}))
        for result in itertools.islice(results, most):
            got.append(("returned", random_tasks.shape(result)))
            if act.read == "slow":
                time.sleep(SLOW_READER_S if len(got) < LATE else 0.0)
        if act.read == "close" and hasattr(results, "close"):
            results.close()
        del results
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is judged
        return got, error
    return got, None


def _judged(act: Act, expected: list[Outcome], got: list[Outcome], end: BaseException | None) -> list[str]:
    """Compare the results of a map, and its end, with what plain ``map`` gives."""
    options = act.options or {}
    if isinstance(end, TimeoutError) and options.get("timeout") == TINY_TIMEOUT_S:
        end = None
        most: int | None = len(got)
    else:
        most = act.taken if act.read in ("drop", "close") else 0 if act.read == "unread" else None
    if act.kind == "late_result" and isinstance(end, TypeError) and "pickle" in str(end) and len(got) >= LATE:
        end, most = None, len(got)  # in a process its task has run, and may not be run again
    ended: list[Outcome] = [] if end is None else [("raised", random_tasks.shape(end))]
    if act.source == "breaking" and isinstance(end, SourceError):
        ended, most = [], len(got)
    whole = got + ended
    if not options.get("ordered", True):
        return _judged_unordered(expected, whole, most, act.source)
    cut = next((n + 1 for n, (how, _) in enumerate(expected) if how == "raised"), len(expected))
    wanted = expected[:cut] if most is None else expected[: min(cut, most)]
    is_raised = any(how == "raised" for how, _ in expected)
    if act.source == "breaking" and most is None and not is_raised:
        return [f"the error of its iterable was lost after {len(got)} results"]
    if whole == wanted or (act.source == "endless" and whole[: len(wanted)] == wanted):
        return []
    place = next((n for n, pair in enumerate(zip(whole, wanted, strict=False)) if pair[0] != pair[1]), None)
    if place is None:
        return [f"{len(whole)} results and ends instead of {len(wanted)}; the last: {str(whole[-1:])[:200]}"]
    return [f"result {place} is {str(whole[place])[:200]} instead of {str(wanted[place])[:200]}"]


def _judged_unordered(
    expected: list[Outcome], whole: list[Outcome], most: int | None, source: str
) -> list[str]:
    strange = Counter(map(repr, whole)) - Counter(map(repr, expected))
    if strange and source != "endless":
        return [f"results that nobody returned, or twice: {str(strange)[:300]}"]
    raised = any(how == "raised" for how, _ in whole)
    if most is None and not raised and (len(whole) != len(expected) or source == "breaking"):
        return [f"{len(whole)} results of {len(expected)}, and no error"]
    if most is not None and not raised and len(whole) != min(most, len(expected)):
        return [f"{len(whole)} results of the {most} that were asked for"]
    return []


def _unwritten(function: Function, items: list[Item]) -> list[str]:
    assert function.written is not None
    lost = Counter(item.key for item in items) - Counter(function.written(items))
    return [f"what {len(lost)} of {len(items)} tasks wrote for their caller is lost"] if lost else []


# Submitted tasks


def do_submits(pool: Any, act: Act, log: str) -> Told:
    """Hand in tasks of many kinds, cancel some, look at every future."""
    kinds = [SUBMITTED[(n * 7 + len(act.weights)) % len(SUBMITTED)] for n in range(act.count)]
    functions = [KINDS[kind]() for kind in kinds]
    items, plain = items_of(act, log), items_of(act, "")
    called: list[Any] = []
    handed_in = []
    for n, (function, item) in enumerate(zip(functions, items, strict=True)):
        future = pool.submit(function.fn, item=item) if n % 3 == 0 else pool.submit(function.fn, item)
        future.add_done_callback(called.append)
        handed_in.append(future)
        if n in act.cancels:
            future.cancel()
    told = Told()
    if act.read == "wait":
        done, not_done = futures.wait(handed_in, timeout=LONG_TIMEOUT_S)
        told.wrong += [f"{len(not_done)} of {len(done) + len(not_done)} are not done"] if not_done else []
    elif (
        act.read == "as_completed" and len(list(futures.as_completed(handed_in, LONG_TIMEOUT_S))) != act.count
    ):
        told.wrong.append("as_completed gave another number of futures")
    for n, future in enumerate(handed_in):
        _judge_future(
            told, future, items[n].key, outcome(functions[n].fn, (plain[n],)), may_cancel=n in act.cancels
        )
    for function, item, future in zip(functions, items, handed_in, strict=True):
        if function.written is not None and not future.cancelled() and not function.written([item]):
            told.wrong.append(f"what task {item.key} wrote for its caller is lost")
    if not _within(lambda: len(called) == act.count):
        told.wrong.append(f"{len(called)} calls of {act.count} callbacks")
    return told


def _judge_future(told: Told, future: Any, key: str, expected: Outcome, *, may_cancel: bool) -> None:
    raised_at = ""
    try:
        got: Outcome = ("returned", random_tasks.shape(future.result(LONG_TIMEOUT_S)))
    except futures.CancelledError:
        if not may_cancel:
            told.wrong.append(f"task {key} was cancelled by nobody")
        # It may have begun, where a running task can be cancelled.
        told.at_most_once.add(key)
        return
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is judged
        got, raised_at = ("raised", random_tasks.shape(error)), place_of(error)
    told.once.add(key)
    if got != expected:
        told.wrong.append(f"task {key}: {str(got)[:200]}{raised_at} instead of {str(expected)[:200]}")


def _within(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    """Wait until a condition holds: callbacks come a moment after their result."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.002)
    return True


# Several threads


def do_threads(pool: Any, act: Act, log: str) -> Told:
    """Do several acts at once, each in a thread of its own."""
    told = [Told() for _ in act.parts]

    def one(n: int) -> None:
        try:
            told[n] = perform(pool, act.parts[n], log)
        except BaseException as error:  # noqa: BLE001 - after Ctrl-C the pool is gone
            told[n].wrong.append(f"the thread ended with {error!r}")

    threads = [threading.Thread(target=one, args=(n,), daemon=True) for n in range(len(act.parts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            thread.join(0.05)
    whole = Told()
    for part in told:
        whole.add(part)
    return whole


# An event loop


def do_asyncio(pool: Any, act: Act, log: str) -> Told:
    """Await tasks, one by one and as an asynchronous iterator, beside the loop's own way to an executor."""
    return asyncio.run(_do_asyncio(pool, act, log))


async def _do_asyncio(pool: Any, act: Act, log: str) -> Told:
    fn = KINDS[act.kind]().fn
    items = items_of(act, log)
    loop = asyncio.get_running_loop()
    half = act.count // 2
    has_run = hasattr(pool, "run")
    # A coroutine function has no meaning for `run_in_executor`, which knows nothing of it.
    if not has_run and act.kind in random_tasks.ASYNC:
        return Told()
    ways: list[Callable[[Item], Any]] = []
    if act.kind not in random_tasks.ASYNC:
        ways.append(lambda item: loop.run_in_executor(pool, fn, item))
    if has_run:
        ways.append(lambda item: pool.run(fn, item))
    awaited = await asyncio.gather(
        *(_awaited(ways[n % len(ways)](item)) for n, item in enumerate(items[:half]))
    )
    expected = [await asyncio.to_thread(outcome, KINDS[act.kind]().fn, (item,)) for item in items_of(act, "")]
    told = Told(once={item.key for item in items[:half]})
    for n, got in enumerate(awaited):
        if got != expected[n]:
            told.wrong.append(f"task {n}: {str(got)[:200]} instead of {str(expected[n])[:200]}")
    if hasattr(pool, "amap"):
        told.add(await _iterated(pool, fn, items[half:], expected[half:]))
    return told


async def _awaited(awaitable: Any) -> Outcome:
    try:
        return "returned", random_tasks.shape(await awaitable)
    except (KeyboardInterrupt, asyncio.CancelledError):
        raise
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is judged
        return "raised", random_tasks.shape(error)


async def _iterated(pool: Any, fn: Any, items: list[Item], expected: list[Outcome]) -> Told:
    got: list[Outcome] = []
    try:
        async for result in pool.amap(fn, items):
            got.append(("returned", random_tasks.shape(result)))  # noqa: PERF401 - what came before an error counts
    except (KeyboardInterrupt, asyncio.CancelledError):
        raise
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is judged
        got.append(("raised", random_tasks.shape(error)))
    cut = next((n + 1 for n, (how, _) in enumerate(expected) if how == "raised"), len(expected))
    wrong = (
        [] if got == expected[:cut] else [f"amap: {str(got)[:200]} instead of {str(expected[:cut])[:200]}"]
    )
    once = {item.key for item in items[:cut]}
    return Told(wrong, once, {item.key for item in items} - once)
