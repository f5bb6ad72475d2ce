"""The tasks of the pool benches, importable by name, so that every contender can send them.

Nothing is imported here beyond the standard library: what a worker weighs is the pool's doing, not the task's.
"""

from __future__ import annotations

import os
import time
from typing import Any


def nothing(item: Any) -> None:
    """Do nothing: what is left is the pool."""


def echo(payload: Any) -> Any:
    return payload


def edges(payload: Any) -> tuple[int, float, float]:
    """Answer in a few bytes, having looked at both ends of a large payload."""
    return len(payload), float(payload[0]), float(payload[-1])


def added_up(array: Any) -> float:
    """Read every byte of an array."""
    return float(array.sum())


def burn(turns: int) -> int:
    """Compute in pure Python."""
    total = 0
    for number in range(turns):
        total += number & 7
    return total


def who_after(seconds: float) -> int:
    """Say which process ran this, after so long that the other worker takes the next one."""
    time.sleep(seconds)
    return os.getpid()
