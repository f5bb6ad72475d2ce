"""How busy other programs keep this machine: a server that a task waits for may compute on the same cores."""

from __future__ import annotations

import os
import time
from pathlib import Path

from whichever import _core

_COUNTERS = Path("/proc/stat")
_BUSY = (1, 2, 3, 6, 7, 8)
"""Columns of the first line: user, nice, system, irq, softirq, steal; in clock ticks over all cores."""
_SHORTEST_S = 0.05
"""Below this the ticks are too coarse to tell."""


class Neighbours:
    """Counts from its making on."""

    def __init__(self) -> None:
        self._begin = time.monotonic()
        self._all = _machine_seconds()
        self._own = _own_seconds()

    def busy(self) -> float:
        """Give the cores that others kept busy on average; 0 where it cannot be told.

        On a machine of which this process may use only a part, others' work says nothing of its own cores.
        """
        elapsed = time.monotonic() - self._begin
        everything = _machine_seconds()
        cores = os.cpu_count() or 1
        whole = _core.usable_cores()["cores"] >= cores
        if elapsed < _SHORTEST_S or self._all is None or everything is None or not whole:
            return 0.0
        others = (everything - self._all) - (_own_seconds() - self._own)
        return min(max(others / elapsed, 0.0), float(cores))


def _machine_seconds() -> float | None:
    try:
        columns = _COUNTERS.read_text(encoding="ascii").split("\n", 1)[0].split()
        return sum(int(columns[column]) for column in _BUSY) / float(os.sysconf("SC_CLK_TCK"))
    except (OSError, ValueError, IndexError):
        return None


def _own_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
