"""Tasks of the pools' stress, importable by name: each notes that it runs, then does what it was dealt."""

from __future__ import annotations

import asyncio
import os
import struct
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KINDS = ("value", "value", "value", "sleep", "spin", "raise")
"""What a task is dealt."""
SPIN_S = 0.0002
NUMBER = struct.Struct("<q")


class PlannedError(Exception):
    """What a task raises when it was dealt that."""


class Tracked:
    """What a task returns: the garbage collector knows of each, so that a leak can be counted."""

    def __init__(self, number: int) -> None:
        self.number = number


class Notes(list[int]):
    """Where the tasks of this process note that they run."""

    def counts(self) -> Counter[int]:
        """Say how often each has run."""
        return Counter(self)


@dataclass(frozen=True)
class FileNotes:
    """Where tasks of any process and interpreter note that they run: a write to the end of a file is one step."""

    path: str

    def append(self, number: int) -> None:
        """Note a number."""
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(file, NUMBER.pack(number))
        finally:
            os.close(file)

    def counts(self) -> Counter[int]:
        """Say how often each has run."""
        path = Path(self.path)
        blob = path.read_bytes() if path.exists() else b""
        return Counter(number for (number,) in NUMBER.iter_unpack(blob))


def play(notes: Any, number: int, kind: str) -> Tracked:
    """Run a task."""
    notes.append(number)
    if kind == "sleep":
        time.sleep(number % 4 / 1000)
    elif kind == "spin":
        end = time.monotonic() + SPIN_S
        while time.monotonic() < end:
            pass
    elif kind == "raise":
        raise PlannedError(number)
    return Tracked(number)


async def play_async(notes: Any, number: int, kind: str) -> Tracked:
    """Run a task on a loop; what sleeps may be cancelled there."""
    if kind == "sleep":
        notes.append(number)
        await asyncio.sleep(number % 4 / 1000)
        return Tracked(number)
    return play(notes, number, kind)
