"""Threads, processes or async: whichever is faster.

    verdict = whichever.which(fn, items)
    print(verdict)

`which` runs a few of the items under a meter, forecasts every engine, tries those that are too close to call,
and says which to use, by how much, and why.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from whichever._core import __version__
    from whichever._types import (
        AsyncPoolStatistics,
        AutoPoolStatistics,
        Failure,
        Forecast,
        Ledger,
        LoopStatistics,
        PoolStatistics,
        QueueStatistics,
        SlowCallback,
        ThreadPoolStatistics,
        TimelineSpan,
    )
    from whichever.advisor import Machine, Verdict, load_ipython_extension, machine, which
    from whichever.auto import Decision, Pool
    from whichever.errors import (
        EngineError,
        EngineUnavailableError,
        NoItemsError,
        PoolBrokenError,
        ProbeError,
        QueueClosed,
        QueueEmpty,
        QueueFull,
        RemoteError,
        TaskError,
        TaskTimeoutError,
        WhicheverError,
        WorkerDied,
    )
    from whichever.executors import (
        AsyncPool,
        Future,
        InterpreterPool,
        ProcessPool,
        SerialPool,
        ThreadPool,
        share,
    )
    from whichever.loop import EventLoop, new_event_loop, run
    from whichever.meter import Meter
    from whichever.queue import LifoQueue, PriorityQueue, Queue

__all__ = [
    "AsyncPool",
    "AsyncPoolStatistics",
    "AutoPoolStatistics",
    "Decision",
    "EngineError",
    "EngineUnavailableError",
    "EventLoop",
    "Failure",
    "Forecast",
    "Future",
    "InterpreterPool",
    "Ledger",
    "LifoQueue",
    "LoopStatistics",
    "Machine",
    "Meter",
    "NoItemsError",
    "Pool",
    "PoolBrokenError",
    "PoolStatistics",
    "PriorityQueue",
    "ProbeError",
    "ProcessPool",
    "Queue",
    "QueueClosed",
    "QueueEmpty",
    "QueueFull",
    "QueueStatistics",
    "RemoteError",
    "SerialPool",
    "SlowCallback",
    "TaskError",
    "TaskTimeoutError",
    "ThreadPool",
    "ThreadPoolStatistics",
    "TimelineSpan",
    "Verdict",
    "WhicheverError",
    "WorkerDied",
    "__version__",
    "load_ipython_extension",
    "machine",
    "new_event_loop",
    "run",
    "share",
    "which",
]

_ROOMS = {
    "_core": ("__version__",),
    "_types": (
        "AsyncPoolStatistics",
        "AutoPoolStatistics",
        "Failure",
        "Forecast",
        "Ledger",
        "LoopStatistics",
        "PoolStatistics",
        "QueueStatistics",
        "SlowCallback",
        "ThreadPoolStatistics",
        "TimelineSpan",
    ),
    "advisor": ("Machine", "Verdict", "load_ipython_extension", "machine", "which"),
    "auto": ("Decision", "Pool"),
    "errors": (
        "EngineError",
        "EngineUnavailableError",
        "NoItemsError",
        "PoolBrokenError",
        "ProbeError",
        "QueueClosed",
        "QueueEmpty",
        "QueueFull",
        "RemoteError",
        "TaskError",
        "TaskTimeoutError",
        "WhicheverError",
        "WorkerDied",
    ),
    "executors": (
        "AsyncPool",
        "Future",
        "InterpreterPool",
        "ProcessPool",
        "SerialPool",
        "ThreadPool",
        "share",
    ),
    "loop": ("EventLoop", "new_event_loop", "run"),
    "meter": ("Meter",),
    "queue": ("LifoQueue", "PriorityQueue", "Queue"),
}
"""Where each public name lives. Rooms load on first use: the import costs next to nothing, and works in a
sub-interpreter, where the native core does not load."""
_HOME = {name: room for room, names in _ROOMS.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return importlib.import_module(f"whichever.{name}")
    if name not in _HOME:
        msg = f"module 'whichever' has no attribute {name!r}"
        raise AttributeError(msg)
    value = getattr(importlib.import_module(f"whichever.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
