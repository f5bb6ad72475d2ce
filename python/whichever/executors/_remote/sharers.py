"""How many workers share the cores with the code that runs here: those of its pool, times those of the pool around it.

A worker says so once, at its start: of the whole process where it is a process, else of its thread alone.
"""

from __future__ import annotations

import threading


class _Thread(threading.local):
    """What a thread was told; None where it was told nothing."""

    sharers: int | None = None


_thread = _Thread()
_process = 1

inner_limits: dict[str, str] = {}
"""Environment variables by which the pool around this process holds native libraries to their share. Not the user's."""


def sharers() -> int:
    """Return how many workers share the cores, this one included; 1 outside of all pools."""
    return _thread.sharers or _process


def enter_process(count: int, limits: dict[str, str]) -> None:
    """Note that this whole process is one of `count` workers, held to `limits`."""
    global _process  # noqa: PLW0603 - a fact of the whole process
    _process = count
    _thread.sharers = None  # under fork, what the caller's thread was told
    inner_limits.clear()
    inner_limits.update(limits)


def enter_thread(count: int) -> None:
    """Note that this thread is one of `count` workers."""
    _thread.sharers = count
