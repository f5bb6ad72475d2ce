"""Who runs a workload in `auto.py`, and how: the automatic pool, each fixed engine, and the rivals as they come.

A contender goes by its name: ``auto``, ``serial``, an engine with its workers (``threads:32``), or a rival's own name.
Fixed engines are our pools with the count given. Everything that a contender needs to start and to end is its own
time; what it leaves running on purpose, such as joblib's workers, is not waited for.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from concurrent import futures
from functools import partial
from importlib import util
from typing import TYPE_CHECKING, Any

from workloads.__main__ import run_one

import whichever

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from workloads.registry import Workload

    Take = Callable[[Iterable[Any]], None]

AUTO = "auto"
RIVALS = ("ThreadPoolExecutor", "ProcessPoolExecutor", "joblib")
_PROCESSES = ("ProcessPoolExecutor", "joblib")
_POOLS: dict[str, Callable[[int], futures.Executor]] = {
    "threads": whichever.ThreadPool,
    "processes": whichever.ProcessPool,
    "interpreters": whichever.InterpreterPool,
    "async": whichever.AsyncPool,
}
_COUNTS: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "threads": ((2,), (2, 4, 8, 16, 32, 64, 128)),
    "processes": ((2,), (2, 4)),
    "interpreters": ((2,), (2, 4)),
    "async": ((32,), (32, 128, 512)),
}
"""The workers of each fixed engine: where tasks compute, and where they wait."""


def contenders(workload: Workload, *, waits: bool) -> dict[str, str | None]:
    """Name all that are to run a workload, each with why it cannot, or None.

    Args:
        workload: What is to be run.
        waits: Whether its tasks wait for a good part of their time.
    """
    found: dict[str, str | None] = {AUTO: None, "serial": None}
    for engine, (computing, waiting) in _COUNTS.items():
        if engine in workload.breaks or not _can_run(engine, workload):
            continue
        found |= {f"{engine}:{workers}": None for workers in (waiting if waits else computing)}
    found |= {rival: _why_not(rival, workload) for rival in RIVALS}
    return found


def _can_run(engine: str, workload: Workload) -> bool:
    if engine == "async":
        return "async" in workload.tags
    return engine != "interpreters" or util.find_spec("concurrent.interpreters") is not None


def _why_not(rival: str, workload: Workload) -> str | None:
    if rival == "joblib" and util.find_spec("joblib") is None:
        return "joblib is not installed"
    if rival in _PROCESSES and "processes" in workload.breaks:
        return "it would change what the program means"
    return None


def run(name: str, fn: Callable[[Any], Any], items: list[Any], take: Take) -> dict[str, Any]:
    """Have a contender run `fn` over `items` and `take` the results, from its start to its end.

    Returns:
        What the automatic pool tells of its choices; nothing of the others.
    """
    if name == AUTO:
        return _run_auto(fn, items, take)
    if name == "serial":
        take(in_turn(fn, items))
        return {}
    engine, _, workers = name.partition(":")
    if engine != "async" and inspect.iscoroutinefunction(fn):
        fn = partial(run_one, fn)  # as who has nothing but threads or processes has to write it
    if name == "joblib":
        import joblib  # noqa: PLC0415 - optional, and `run` is timed from here: its import is paid in `prepare`

        take(joblib.Parallel(n_jobs=-1)(joblib.delayed(fn)(item) for item in items))
        return {}
    with _POOLS[engine](int(workers)) if workers else getattr(futures, name)() as pool:
        take(pool.map(fn, items))
    return {}


def prepare(name: str) -> None:
    """Import what the user's own ``import`` line would: that is no contender's time."""
    if name == "joblib":
        import joblib  # noqa: F401, PLC0415
    elif name == AUTO:
        from whichever import Pool  # noqa: F401, PLC0415
    elif name in RIVALS:
        getattr(futures, name)


def _run_auto(fn: Callable[[Any], Any], items: list[Any], take: Take) -> dict[str, Any]:
    # Nothing is remembered of earlier runs: this is a user's first one.
    with whichever.Pool(remember=False) as pool:
        take(pool.map(fn, items))
        steps = pool.history()
    # What it did last; a map that ends before there is anything to decide has run in the caller's thread.
    chosen = f"{steps[-1].engine}:{steps[-1].workers}" if steps else "serial"
    return {"chosen": chosen, "history": [str(step) for step in steps]}


def in_turn(fn: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
    """Run a plain loop; of coroutines, on one event loop, each to its end."""
    if not inspect.iscoroutinefunction(fn):
        yield from map(fn, items)
        return
    with contextlib.closing(asyncio.Runner()) as runner:
        for item in items:
            yield runner.run(fn(item))
