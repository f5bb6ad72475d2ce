"""What the pools around this code leave it of the machine: pools inside pools share cores, they do not multiply."""

from __future__ import annotations

from whichever import _core
from whichever.executors._remote.sharers import sharers


def cores_left() -> int:
    """Return how many cores a pool that is made here may keep busy, at least 1.

    All usable cores outside of pools. Inside a worker of a pool, at whatever depth, its share of them: the cores
    over the number of that pool's workers, and over the workers of the pool around that.
    """
    return share_of(int(_core.usable_cores()["cores"]))


def share_of(cores: int) -> int:
    """Return the share of `cores` that falls to the code that runs here, at least 1."""
    return max(cores // sharers(), 1)
