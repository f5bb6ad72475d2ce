"""Threads, processes or async: whichever is faster.

    verdict = whichever.which(fn, items)
    print(verdict)

`which` runs a few of the items under a meter, forecasts every engine, tries those that are too close to call,
and says which to use, by how much, and why.
"""

from __future__ import annotations

from whichever._core import __version__
from whichever._types import Failure, Forecast, Ledger, TimelineSpan
from whichever.advisor import Machine, Verdict, machine, which
from whichever.errors import (
    EngineError,
    EngineUnavailableError,
    NoItemsError,
    ProbeError,
    TaskError,
    WhicheverError,
)
from whichever.meter import Meter

__all__ = [
    "EngineError",
    "EngineUnavailableError",
    "Failure",
    "Forecast",
    "Ledger",
    "Machine",
    "Meter",
    "NoItemsError",
    "ProbeError",
    "TaskError",
    "TimelineSpan",
    "Verdict",
    "WhicheverError",
    "__version__",
    "machine",
    "which",
]
