"""Measures what each engine costs on this machine under this interpreter, in under three seconds.

Every figure is the best of a few short runs: a cost is what it takes when nothing else interferes.
"""

from __future__ import annotations

import json
import os
import pickle
import statistics
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from whichever import _core
from whichever.executors import ENGINES, Engine, open_engine
from whichever.meter import Meter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from whichever._types import EngineName

_NOOPS = 2000
_MESSAGES = 150
_BYTES = 4_000_000
_MOVED = 6  # times in a run
_FREE_THREADED_SLOWDOWN = 1.10
"""Single-threaded Python on the free-threaded build over the default one: 1.0-1.4 on 3.13, about 1.05-1.10 from
3.14 on, by the free-threading guide in CPython's documentation."""


def calibrate() -> dict[str, Any]:
    """Measure the costs that the model needs; the keys are those of the model's `Costs`."""
    cores = _core.usable_cores()["cores"]
    engines: dict[str, dict[str, float]] = {"serial": {}}
    for name in ("threads", "async", "interpreters", "processes"):
        if ENGINES[name].unavailable() is None:
            engines[name] = _MEASURES[name]()
    parallel, parallel_memory = _parallel(cores)
    wake = _wake()
    return {
        "cores": cores,
        "parallel": parallel,
        "parallel_memory": parallel_memory,
        "switch_interval": sys.getswitchinterval(),
        "handoff": _handoff(),
        "turns": _turns(),
        "metering": _metering(),
        "wake": wake,
        "import": _import(),
        "gil": gil_enabled(),
        "free_threaded_slowdown": _FREE_THREADED_SLOWDOWN,
        "engines": engines,
    }


def gil_enabled() -> bool:
    """Say whether this interpreter runs with a GIL now."""
    enabled: Callable[[], bool] = getattr(sys, "_is_gil_enabled", lambda: True)
    return enabled()


@dataclass(frozen=True, slots=True)
class _Tasks:
    """Tasks to time. Made inside a function, so that they cross by value: a worker need not import this package."""

    noop: Callable[[object], object]
    take: Callable[[object], float]
    keep: Callable[[object], float]
    give: Callable[[int], tuple[float, object]]
    spin: Callable[[int], float]
    stream: Callable[[int], float]


def _tasks() -> _Tasks:
    def noop(item: object) -> object:
        return item

    made: dict[int, bytes] = {}

    def take(data: object) -> float:
        del data
        return time.thread_time()

    kept: list[object] = []

    def keep(data: object) -> float:
        kept.append(data)
        return time.thread_time()

    def give(size: int) -> tuple[float, object]:
        if size not in made:
            made[size] = b"x" * size
        return time.thread_time(), pickle.PickleBuffer(made[size])

    def spin(rounds: int) -> float:
        begin = time.thread_time()
        total = 0
        for k in range(rounds):
            total += k & 7
        return time.thread_time() - begin

    def stream(rounds: int) -> float:
        # More memory than caches hold, copied `rounds` times.
        block = bytearray(24_000_000)
        begin = time.thread_time()
        for _ in range(rounds):
            block[:12_000_000] = block[12_000_000:]
        return time.thread_time() - begin

    return _Tasks(noop, take, keep, give, spin, stream)


_TASKS = _tasks()


async def _noop_coroutine(item: object) -> object:
    return item


def _timed(call: Callable[[], object]) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def _best(call: Callable[[], object], repeats: int = 3) -> float:
    return min(_timed(call) for _ in range(repeats))


def _whole(name: EngineName, workers: int) -> Callable[[], None]:
    """Open, run one task, close: what a short-lived pool costs beside its tasks."""
    fn = _noop_coroutine if name == "async" else _TASKS.noop

    def run() -> None:
        with open_engine(name, workers) as engine:
            engine.run(fn, range(workers))

    return run


def _start(name: EngineName, few: int, many: int, repeats: int) -> dict[str, float]:
    small, large = _best(_whole(name, few), repeats), _best(_whole(name, many), repeats)
    worker = max(large - small, 0.0) / (many - few)
    return {"start": max(small - few * worker, 0.0), "start_worker": worker}


def _measure_threads() -> dict[str, float]:
    with open_engine("threads", 2) as engine:
        task = _best(lambda: engine.run(_TASKS.noop, range(_NOOPS))) / _NOOPS
    return _start("threads", 2, 16, 3) | {"task": task}


def _measure_async() -> dict[str, float]:
    with open_engine("async", 64) as engine:
        task = _best(lambda: engine.run(_noop_coroutine, range(_NOOPS))) / _NOOPS
    return {"start": _best(_whole("async", 1)), "task": task}


def _measure_interpreters() -> dict[str, float]:
    costs = _start("interpreters", 1, 3, 2)
    with open_engine("interpreters", 2) as engine:
        engine.run(_TASKS.noop, range(8))
        single = _best(lambda: engine.run(_TASKS.noop, range(_MESSAGES))) / _MESSAGES
        many = _MESSAGES * 20
        task = _best(lambda: engine.run(_TASKS.noop, range(many), chunksize=many // 8), 2) / many
    return costs | {"message": max(single - task, 0.0), "task": task} | _moving("interpreters")


def _measure_processes() -> dict[str, float]:
    """The pool batches tasks itself: there is no message to tell apart from them."""
    costs = _start("processes", 1, 3, 3)
    with open_engine("processes", 2) as engine:
        engine.run(_TASKS.noop, range(_NOOPS))
        task = _best(lambda: engine.run(_TASKS.noop, range(_NOOPS))) / _NOOPS
    return costs | {"task": task} | _moving("processes")


def _moving(name: EngineName) -> dict[str, float]:
    """Measure what large buffers take on their way to a worker and back, of the caller's CPU time and the worker's.

    Through memory that was used before, and through memory that was not, where the engine keeps any: what a task keeps
    of its arguments is not used again.
    """
    whole = [bytes([k]) * _BYTES for k in range(_MOVED)]
    blocks = [pickle.PickleBuffer(block) for block in whole]
    with open_engine(name, 1) as engine:
        fresh, _ = _shares(engine, _TASKS.keep, blocks, lambda value: value)  # first: nothing was used before
        nothing, _ = _shares(engine, _TASKS.take, range(_MOVED), lambda value: value)
        sent, sent_there = _shares(engine, _TASKS.take, blocks, lambda value: value)
        _, copied_there = _shares(engine, _TASKS.take, whole, lambda value: value)
        taken, taken_there = _shares(engine, _TASKS.give, [_BYTES] * _MOVED, lambda value: value[0])
    return {
        "byte_in": max(sent - nothing, 0.0) / _BYTES,
        "byte_out": max(taken - nothing, 0.0) / _BYTES,
        "byte_worker": (sent_there + taken_there) / 2 / _BYTES,
        "byte_copy": max(copied_there - sent_there, 0.0) / _BYTES,
        "byte_fresh": max(fresh - sent, 0.0) / _BYTES,
    }


def _shares(
    engine: Engine, fn: Callable[[Any], Any], items: Sequence[object], clock: Callable[[Any], float]
) -> tuple[float, float]:
    """Return the CPU seconds of the caller and of the worker for each of some equal tasks.

    Args:
        engine: An engine with one worker.
        fn: The task; it reads its thread's CPU clock.
        items: What it gets.
        clock: Finds the clock's reading in its result.
    """

    def once() -> tuple[float, float]:
        begin = time.thread_time()
        readings = [clock(outcome.value) for outcome in engine.run(fn, items)]
        return (time.thread_time() - begin) / len(readings), (readings[-1] - readings[0]) / (
            len(readings) - 1
        )

    runs = [once() for _ in range(4)]
    return min(caller for caller, _ in runs), min(worker for _, worker in runs)


_MEASURES: dict[str, Callable[[], dict[str, float]]] = {
    "threads": _measure_threads,
    "async": _measure_async,
    "interpreters": _measure_interpreters,
    "processes": _measure_processes,
}


def _parallel(cores: float) -> tuple[float, float]:
    """Measure the speed-up of `cores` processes over one, for pure Python and for copying memory.

    Compared are the CPU seconds that the same work takes alone and with all cores at work: unlike wall time they
    do not count who else uses the machine just now.
    """
    whole = max(int(cores), 1)
    if cores <= 1:
        return cores, cores
    with open_engine("processes", whole) as engine:
        spin = _speed_up(engine, _TASKS.spin, 300_000, whole)
        return spin, min(_speed_up(engine, _TASKS.stream, 2, whole), spin)


def _speed_up(engine: Engine, fn: Callable[[int], float], rounds: int, workers: int) -> float:
    def best(tasks: int) -> float:
        outcomes = [outcome for _ in range(4) for outcome in engine.run(fn, [rounds] * tasks)]
        return min(float(outcome.value) for outcome in outcomes)

    return min(max(workers * best(1) / best(workers), 1.0), float(workers))


def _handoff() -> float:
    """Measure what a release of the GIL costs more when another thread wants it: two threads that read a file."""
    rounds, releases = 2000, 3
    path = os.__file__

    def work() -> None:
        for _ in range(rounds):
            descriptor = os.open(path, os.O_RDONLY)
            os.read(descriptor, 4096)
            os.close(descriptor)

    alone = _best(work) / rounds
    together = _best(lambda: _in_threads(work, 2)) / (2 * rounds)
    return max(together - alone, 0.0) / releases


def _turns() -> float:
    """Measure how much longer Python takes in two threads in turn than alone: objects made, filled and dropped."""
    if not gil_enabled():
        return 1.0
    text = json.dumps([{"name": f"item {k}", "sizes": [k, k + 1, k + 2]} for k in range(300)])

    def work() -> None:
        for _ in range(40):
            json.dumps(json.loads(text), indent=1)

    alone = _best(work)
    together = min(_timed(lambda: _in_threads(work, 2)) for _ in range(4)) / 2
    return max(together / alone, 1.0)


def _metering() -> float:
    """Measure what the meter adds to a task's measured length, with tasks that do nothing."""
    calls = 5000
    with Meter() as meter:
        for k in range(calls):
            meter.call(_TASKS.noop, k)
        lengths = meter.task_seconds

    def bare() -> None:
        for k in range(calls):
            _TASKS.noop(k)

    return max(statistics.median(lengths) - _best(bare) / calls, 0.0)


def _in_threads(work: Callable[[], None], threads: int) -> None:
    running = [threading.Thread(target=work) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()


def _wake() -> float:
    """Measure waking a thread: two threads that hand a lock to and fro."""
    rounds = 300
    there, back = threading.Semaphore(0), threading.Semaphore(0)

    def answer() -> None:
        for _ in range(rounds):
            there.acquire()
            back.release()

    def ask() -> None:
        thread = threading.Thread(target=answer)
        thread.start()
        for _ in range(rounds):
            there.release()
            back.acquire()
        thread.join()

    return _best(ask) / rounds / 2


_IMPORTS = (
    "import sys, time; before = len(sys.modules); begin = time.perf_counter();"
    "import json, decimal, email.message, http.client, xml.dom.minidom, unittest, sqlite3;"
    "print((time.perf_counter() - begin) / (len(sys.modules) - before))"
)


def _import() -> float:
    """Measure the import of one module, the mean over some of the standard library's."""
    command = [sys.executable, "-I", "-c", _IMPORTS]
    shown = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)  # noqa: S603
    try:
        return float(shown.stdout)
    except ValueError:
        return 1e-3
