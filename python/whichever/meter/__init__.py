"""The meter: where the wall time of a task goes.

Guarantees: metering needs no permission and changes nothing about the task; the sampler's thread never takes
the GIL and ends with the meter. Assumes CPython; what a platform or build does not tell is named in the
ledger's ``unknown``.
"""

from __future__ import annotations

from whichever.meter._meter import Meter

__all__ = ["Meter"]
