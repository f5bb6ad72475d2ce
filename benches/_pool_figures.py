"""What is measured of one contender, in groups: each group is a function that yields figures as it finds them.

A figure is a dict with ``figure`` and ``value`` (units stand in the names), or with ``why`` where there is none.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import os
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import _pool_tasks as tasks
from _children import descendants
from _result import quantile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from _pool_contenders import Contender

    Figure = dict[str, Any]

WORKERS = 2
FULL_S = 0.5
"""Seconds that a rate or a round trip is measured for, when it is not a smoke test."""
MIB = 1 << 20
LARGE = 100 * MIB // 8
"""Elements of the large array: 100 MiB of float64."""
CHUNKS = (100, 1_000, 10_000)
SPINS = {"1ms": (0.001, 500), "10ms": (0.010, 80)}
"""Seconds of a task and how many there are. With 80 tasks, one more on a worker than on the other costs 1 %."""
CALLS = 20
"""Calls before anything is measured: both workers are there, and have imported the tasks."""
REFILL_S = 0.3
"""Pause before a new pool is opened: nobody opens the next one in the same millisecond, and a pool that prepares
for the next one does so after it was closed."""


class Session:
    """One contender in this process, and how long to measure.

    Args:
        contender: Not open yet.
        quick: Measure for a smoke test only.
        places: Tasks by where they are defined: in the program itself, and in a closure.
    """

    def __init__(self, contender: Contender, *, quick: bool, places: dict[str, Callable[..., Any]]) -> None:
        self.contender = contender
        self.seconds = 0.1 if quick else FULL_S
        self.repeats = 1 if quick else 3
        self.places = places
        self._open = False

    def pool(self) -> Contender:
        """Give the contender, open and warm."""
        if not self._open:
            self.contender.open(WORKERS)
            self._open = True
            for _ in range(CALLS):
                self.contender.call(tasks.nothing, 0)
            if self.contender.call(tasks.who_after, 0) == os.getpid():
                msg = "its tasks run in the caller"
                raise AssertionError(msg)
        return self.contender

    def close(self) -> None:
        """Close the pool if it is open."""
        if self._open:
            self.contender.close()
            self._open = False


def start(session: Session) -> Iterator[Figure]:
    """How long until the first result: of the first pool in this process, and of further ones."""
    if session.contender.package:
        begin = time.perf_counter()
        importlib.import_module(session.contender.package)
        yield {"figure": "import_ms", "value": 1e3 * (time.perf_counter() - begin)}
    first, closing = first_result(session.contender)
    yield {"figure": "first_pool_ms", "value": 1e3 * first}
    yield {"figure": "close_ms", "value": 1e3 * closing}
    further = []
    for _ in range(1 if session.contender.heavy else 2 * session.repeats - 1):
        time.sleep(REFILL_S)
        further.append(first_result(session.contender)[0])
    yield {"figure": "new_pool_ms", "value": 1e3 * statistics.median(further)}


def first_result(contender: Contender) -> tuple[float, float]:
    """Open, run one task, close; give the seconds to the result and of the closing."""
    begin = time.perf_counter()
    contender.open(WORKERS)
    contender.call(tasks.nothing, 0)
    there = time.perf_counter()
    contender.close()
    return there - begin, time.perf_counter() - there


def calls(session: Session) -> Iterator[Figure]:
    """Tasks that do nothing: one at a time, handed in one by one, mapped, and awaited."""
    pool = session.pool()
    times = round_trips(pool, tasks.nothing, session.seconds)
    yield {"figure": "round_trip_p50_us", "value": 1e6 * statistics.median(times)}
    yield {"figure": "round_trip_p99_us", "value": 1e6 * quantile(times, 0.99)}
    lacks = pool.lacks
    if why := lacks.get("submit_all"):
        yield {"figure": "submit_per_s", "why": why}
    else:
        yield per_second("submit_per_s", lambda n: pool.submit_all(tasks.nothing, range(n)), session, 50_000)
    yield per_second("map_default_per_s", lambda n: pool.map(tasks.nothing, range(n)), session, 100_000)
    if why := lacks.get("map_chunked"):
        yield {"figure": "map_best_chunk_per_s", "why": why}
    else:
        yield best_chunk(pool, session)
    if why := lacks.get("executor"):
        yield {"figure": "asyncio_per_s", "why": why}
    else:
        yield per_second("asyncio_per_s", lambda n: asyncio.run(gathered(pool, n)), session, 20_000)


def round_trips(pool: Contender, fn: Callable[..., Any], seconds: float) -> list[float]:
    """Call again and again, for so long; give the seconds of each call, of which there are at least 50."""
    times = []
    end = time.perf_counter() + seconds
    while len(times) < 50 or time.perf_counter() < end:
        begin = time.perf_counter()
        pool.call(fn, 0)
        times.append(time.perf_counter() - begin)
    return times


def per_second(figure: str, run: Callable[[int], list[Any]], session: Session, most: int) -> Figure:
    """Run as many tasks as fit in the session's seconds, `most` at most, and give their rate."""
    count, seconds = 500, 0.0
    for _ in range(3):
        seconds = timed(run, count)
        if count >= most or seconds > 0.5 * session.seconds:
            break
        count = max(500, min(most, int(count * session.seconds / seconds)))
    return {"figure": figure, "value": count / seconds, "tasks": count}


def timed(run: Callable[[int], list[Any]], count: int) -> float:
    """Run `count` tasks; give the seconds, having checked that each one gave a result."""
    begin = time.perf_counter()
    results = run(count)
    seconds = time.perf_counter() - begin
    if len(results) != count:
        msg = f"{count} tasks gave {len(results)} results"
        raise AssertionError(msg)
    return seconds


def best_chunk(pool: Contender, session: Session) -> Figure:
    """Map in chunks of several sizes; give the rate of the best."""
    count = int(100_000 * session.seconds / FULL_S)
    rates = {
        chunk: count / timed(lambda n, chunk=chunk: pool.map_chunked(tasks.nothing, range(n), chunk), count)
        for chunk in CHUNKS
    }
    best = max(rates, key=lambda chunk: rates[chunk])
    return {"figure": "map_best_chunk_per_s", "value": rates[best], "tasks": count, "chunk": best}


async def gathered(pool: Contender, count: int) -> list[Any]:
    """Await `count` tasks together."""
    loop, executor = asyncio.get_running_loop(), pool.executor()
    return await asyncio.gather(*(loop.run_in_executor(executor, tasks.nothing, i) for i in range(count)))


def payloads(session: Session) -> Iterator[Figure]:
    """Bytes to a worker, and there and back. Each array sent is another one: nobody may send it once for all."""
    numpy = importlib.import_module("numpy")
    pool = session.pool()
    # Whole numbers, so that their sum is the same in whatever order it is formed.
    large = numpy.random.default_rng(1).integers(0, 1000, LARGE).astype(numpy.float64)
    yield {"figure": "array_100m_cold_gb_per_s", "value": sent(pool, tasks.edges, [large.copy()])}
    for name, task in {"warm": tasks.edges, "added_up": tasks.added_up, "echo": tasks.echo}.items():
        rates = [sent(pool, task, [large.copy()]) for _ in range(session.repeats)]
        yield {"figure": f"array_100m_{name}_gb_per_s", "value": statistics.median(rates)}
    small = {"bytes_1m": os.urandom(MIB), "array_1m": large[: MIB // 8].copy()}
    for kind, payload in small.items():
        copies = [fresh(payload, number) for number in range(int(40 * session.seconds))]
        for name, task in {"": tasks.edges, "echo_": tasks.echo}.items():
            sent(pool, task, copies[:2])
            yield {"figure": f"{kind}_{name}gb_per_s", "value": sent(pool, task, copies)}


def fresh(payload: Any, number: int) -> Any:
    """Copy a payload and change its beginning."""
    if isinstance(payload, bytes):
        return bytes([number % 256]) + payload[1:]
    payload = payload.copy()
    payload[0] = number
    return payload


def sent(pool: Contender, task: Callable[..., Any], payload_list: list[Any]) -> float:
    """Send payloads one after the other; give the median rate, having checked each reply."""
    rates = []
    gc.collect()
    for payload in payload_list:
        begin = time.perf_counter()
        reply = pool.call(task, payload)
        size = getattr(payload, "nbytes", None) or len(payload)
        rates.append(size / (time.perf_counter() - begin) / 1e9)
        check(task, payload, reply)
    return statistics.median(rates)


def check(task: Callable[..., Any], payload: Any, reply: Any) -> None:
    """Fail unless a reply is what the task gives here."""
    if task is tasks.echo:
        same = type(reply) is type(payload) and tasks.edges(reply) == tasks.edges(payload)
    else:
        same = reply == task(payload)
    if not same:
        msg = f"wrong reply of {task.__name__}"
        raise AssertionError(msg)


def scaling(session: Session) -> Iterator[Figure]:
    """Efficiency on pure Python: the same tasks in this process right before and after.

    One core does all of them in S seconds, the pool in P: efficiency is S / (workers * P).
    """
    contender = session.contender
    if "call" in contender.lacks:
        contender.open(WORKERS)
    else:
        session.pool().map(tasks.burn, [1000] * 100)
    for name, (seconds, count) in SPINS.items():
        items = [turns_of(seconds)] * int(count * session.seconds / FULL_S)
        values = []
        for _ in range(session.repeats):
            before = alone(items)
            begin = time.perf_counter()
            contender.map(tasks.burn, items)
            pooled = time.perf_counter() - begin
            values.append((before + alone(items)) / 2 / (WORKERS * pooled))
            if session.repeats > 1 and contender.heavy:
                break
        yield {"figure": f"efficiency_{name}", "value": statistics.median(values), "tasks": len(items)}


def turns_of(seconds: float) -> int:
    """Give the turns that `burn` makes in so many seconds of CPU time."""
    turns = 20_000
    rates = []
    for _ in range(5):
        begin = time.thread_time()
        tasks.burn(turns)
        rates.append(turns / (time.thread_time() - begin))
    return int(seconds * statistics.median(rates))


def alone(items: list[int]) -> float:
    """Run the tasks in this process; give the seconds."""
    begin = time.perf_counter()
    for item in items:
        tasks.burn(item)
    return time.perf_counter() - begin


def memory(session: Session) -> Iterator[Figure]:
    """What a worker and the pool's other processes weigh after a few small tasks."""
    pool = session.pool()
    workers = set(pool.map(tasks.who_after, [0.05] * 4 * WORKERS))
    own = {pid: weight(pid) for pid in workers}
    yield {"figure": "worker_uss_mib", "value": statistics.mean(uss for uss, _ in own.values())}
    yield {"figure": "worker_pss_mib", "value": statistics.mean(pss for _, pss in own.values())}
    helpers = descendants() - workers
    yield {
        "figure": "helpers_pss_mib",
        "value": sum(weight(pid)[1] for pid in helpers),
        "tasks": len(helpers),
    }


def weight(pid: int) -> tuple[float, float]:
    """Give the unique and the proportional set size of a process in MiB."""
    kib = {"Private_Clean": 0, "Private_Dirty": 0, "Pss": 0}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, _, rest = line.partition(":")
        if name in kib:
            kib[name] = int(rest.split()[0])
    return (kib["Private_Clean"] + kib["Private_Dirty"]) / 1024, kib["Pss"] / 1024


def places(session: Session) -> Iterator[Figure]:
    """The round trip of tasks that no module holds: from the program itself, and a closure."""
    for place, task in session.places.items():
        try:
            times = round_trips(session.pool(), task, session.seconds / 2)
        except Exception as error:  # noqa: BLE001 - a pool may refuse in any way it likes
            yield {
                "figure": f"{place}_round_trip_p50_us",
                "why": " ".join(f"{type(error).__name__}: {error}".split())[:200],
            }
        else:
            yield {"figure": f"{place}_round_trip_p50_us", "value": 1e6 * statistics.median(times)}


GROUPS: dict[str, Callable[[Session], Iterator[Figure]]] = {
    "start": start,
    "payloads": payloads,
    "calls": calls,
    "memory": memory,
    "scaling": scaling,
    "places": places,
}
"""In the order in which they share a process, where they do: what wants a fresh pool comes first."""
