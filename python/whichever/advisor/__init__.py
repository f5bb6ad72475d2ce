"""Which engine to use: samples, judges, tries, verifies.

`which` answers one question; `machine` shows what is known of this machine. Stands on the meter (what a task
does), the executors (what engines there are) and the model in the native core (what follows from both).
"""

from __future__ import annotations

from whichever.advisor._machine import Machine, TrackRecord, machine
from whichever.advisor._magic import load_ipython_extension
from whichever.advisor._verdict import Verdict
from whichever.advisor._which import which

__all__ = ["Machine", "TrackRecord", "Verdict", "load_ipython_extension", "machine", "which"]
