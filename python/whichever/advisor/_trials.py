"""Runs engines for real: short trials on further items, and whole runs to verify."""

from __future__ import annotations

import ctypes
import gc
import inspect
import math
import statistics
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from whichever.advisor._judge import Contender, Measurement, Trial
from whichever.errors import EngineError, WorkerDied
from whichever.executors import open_engine

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from whichever._types import Forecast
    from whichever.executors import Outcome

_SHORT_RUN_S = 0.3
"""A whole run shorter than this is repeated: one would be noise."""
_REPEATS = 5
_FEW_REPEATS = 3
_VERY_SHORT_RUN_S = 0.1
_FRESH = ("interpreters", "processes")
_WAVES_TO_WARM_UP = 3
_DEADLINE_FACTOR = 3.0
"""A trial that takes this many times longer than expected starts no further item."""


def planned_items(contender: Contender, forecast: Forecast, tasks: int, seconds: float, left: int) -> int:
    """Say how many items a trial should run to take about `seconds`: whole waves, at least one; 0: too few left."""
    each = forecast.seconds / max(tasks, 1)
    wanted = int(seconds / each) if each > 0 else left
    waves = max(min(wanted, left) // contender.workers, 1)
    items = waves * contender.workers
    return items if items <= left else 0


def run_trial(
    fn: Callable[[Any], Any],
    items: Sequence[Any],
    contender: Contender,
    *,
    modules: Sequence[str],
    seconds: float,
) -> tuple[Trial, list[Outcome]]:
    """Run `items` on one engine and time it, start-up apart.

    In fresh interpreters each worker's first task pays for what the caller has long had (caches, lazy imports): with
    items enough, what the first ones take longer counts as start-up.

    Args:
        fn: The task.
        items: Items of its own, not run before.
        contender: The engine.
        modules: What fresh interpreters should import first.
        seconds: What the trial is expected to take.
    """
    begin = time.perf_counter()
    workers = contender.workers
    engine = open_engine(contender.engine, workers, modules)
    with engine:
        opened = time.perf_counter()
        deadline = time.monotonic() + _DEADLINE_FACTOR * seconds
        first = workers if contender.engine in _FRESH and len(items) >= _WAVES_TO_WARM_UP * workers else 0
        warmed = _unless_lost(engine.run(fn, items[:first], deadline=deadline))
        warm = time.perf_counter()
        rest = items[first:]
        chunksize = max(min(contender.chunksize, len(rest) // workers), 1)
        outcomes = _unless_lost(engine.run(fn, rest, chunksize=chunksize, deadline=deadline))
        done = time.perf_counter()
    closed = time.perf_counter()
    outcomes = [replace(outcome, index=outcome.index + first) for outcome in outcomes]
    wave = (done - warm) / max(len(outcomes), 1) * workers
    cold = max(warm - opened - wave, 0.0) if first else 0.0
    overhead = (opened - begin) + (closed - done) + cold
    run = (done - warm) + (warm - opened - cold)
    return Trial(contender.engine, workers, len(warmed) + len(outcomes), run, overhead), [*warmed, *outcomes]


def verify(
    fn: Callable[[Any], Any],
    items: Sequence[Any],
    forecasts: Sequence[Forecast],
    *,
    modules: Sequence[str],
    progress: Callable[[str], None],
    repeat: bool = False,
) -> tuple[list[Measurement], dict[str, str]]:
    """Run all items on each of the forecasts' engines, start-up and closing included; medians of short runs.

    With `repeat`, long runs are repeated too: for tasks that use much fresh memory, which costs whoever touches it
    first.

    Returns:
        The measurements, and the engines that failed with the reason in words.
    """
    seconds: dict[int, list[float]] = {k: [] for k in range(len(forecasts))}
    failed: dict[str, str] = {}
    for turn in range(_REPEATS):
        for k, forecast in enumerate(forecasts):
            few = math.inf if repeat else _SHORT_RUN_S
            enough = few if turn < _FEW_REPEATS else _VERY_SHORT_RUN_S
            if forecast.engine in failed or (turn and min(seconds[k]) > enough):
                continue
            progress(f"verifying: {forecast.engine}, {forecast.workers} workers, {len(items)} tasks")
            try:
                seconds[k].append(_run_all(fn, items, forecast, modules))
            except EngineError as error:
                failed[forecast.engine] = f"failed when all items were run: {error}"
    measured = [
        Measurement(forecast.engine, forecast.workers, statistics.median(seconds[k]))
        for k, forecast in enumerate(forecasts)
        if forecast.engine not in failed
    ]
    return measured, failed


def _run_all(
    fn: Callable[[Any], Any], items: Sequence[Any], forecast: Forecast, modules: Sequence[str]
) -> float:
    _settle()
    begin = time.perf_counter()
    if forecast.engine == "serial" and not inspect.iscoroutinefunction(fn):
        _plain_loop(fn, items)
    else:
        with open_engine(forecast.engine, forecast.workers, modules) as engine:
            _unless_lost(engine.run(fn, items, chunksize=forecast.chunksize))
    return time.perf_counter() - begin


def _unless_lost(outcomes: list[Outcome]) -> list[Outcome]:
    """Pass the outcomes on, if no task cost its worker its life: an engine where one does is none to advise.

    Raises:
        EngineError: One did.
    """
    for outcome in outcomes:
        if isinstance(outcome.error, WorkerDied):
            raise EngineError(str(outcome.error).partition(";")[0])
    return outcomes


def _settle() -> None:
    """Give memory back before a timed run, or the first one alone would pay for growing the process."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's; elsewhere there is nothing to do
    if trim is not None:
        trim(0)


def _plain_loop(fn: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
    """Do what the user would do without us, failures apart: the measure that all engines are compared with."""
    results = []
    for item in items:
        try:
            results.append(fn(item))
        except Exception:  # noqa: BLE001 - a task's failure is reported by the sampling
            results.append(None)
    return results
