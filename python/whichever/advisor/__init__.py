"""Which engine to use: samples, judges, tries, verifies.

`which` answers one question; `machine` shows what is known of this machine. Stands on the meter (what a task
does), the executors (what engines there are) and the model in the native core (what follows from both).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from whichever.advisor._machine import Machine, TrackRecord, machine
    from whichever.advisor._magic import load_ipython_extension
    from whichever.advisor._verdict import Verdict
    from whichever.advisor._which import which

__all__ = ["Machine", "TrackRecord", "Verdict", "load_ipython_extension", "machine", "which"]

_HOME = {
    "Machine": "_machine",
    "TrackRecord": "_machine",
    "Verdict": "_verdict",
    "load_ipython_extension": "_magic",
    "machine": "_machine",
    "which": "_which",
}
"""Where each name lives: a pool asks the model without loading reports and trials."""


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        msg = f"module 'whichever.advisor' has no attribute {name!r}"
        raise AttributeError(msg)
    value = getattr(importlib.import_module(f"whichever.advisor.{_HOME[name]}"), name)
    globals()[name] = value
    return value
