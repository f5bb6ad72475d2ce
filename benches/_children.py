"""Programs and the processes below them: run one and leave nothing of it behind; list what is below this one."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

LEAVE_S = 5.0
"""Seconds in which processes that outlive the program may still end by themselves."""


@dataclass(frozen=True)
class Ending:
    """How a program ended.

    Attributes:
        code: Its exit code, negative for a signal; None when it was stopped because its time was up.
        said: What it and its own children wrote on standard output and standard error.
    """

    code: int | None
    said: str


def run_in_group(command: Sequence[object], folder: Path, seconds: float | None = None) -> Ending:
    """Run `command`, then end every process of its group that is still there.

    Its output goes through a file: a leftover worker would hold a pipe open for ever.

    Args:
        command: Program and arguments.
        folder: Its working folder.
        seconds: How long it may take; None when it keeps to a bound by itself.
    """
    with tempfile.TemporaryFile() as said:
        child = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT, cwd=folder, start_new_session=True,
        )  # fmt: skip
        try:
            code: int | None = child.wait(seconds)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            end_group(child.pid)
        child.wait()
        said.seek(0)
        return Ending(code, said.read().decode(errors="replace"))


def end_group(group: int) -> None:
    """End every process of a group: politely first, so that named semaphores are still unlinked."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGTERM)
        end = time.monotonic() + LEAVE_S
        while time.monotonic() < end and any_alive(group):
            time.sleep(0.02)
        os.killpg(group, signal.SIGKILL)


def any_alive(group: int) -> bool:
    """Say whether a process of the group still runs; a zombie does not."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, own_group = stat.read_text(errors="replace").rpartition(")")[2].split()[:3]
            if int(own_group) == group and state not in "ZX":
                return True
    return False


def descendants() -> set[int]:
    """List the processes below this one, zombies included."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(stat.parent.name)] = int(
                stat.read_text(errors="replace").rpartition(")")[2].split()[1]
            )
    found: set[int] = set()
    wave = {os.getpid()}
    while wave:
        wave = {child for child, parent in parents.items() if parent in wave}
        found |= wave
    return found
