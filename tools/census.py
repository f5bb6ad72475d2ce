"""Count what a process holds, to see whether something is left: descriptors, shared memory, threads, children.

A census is taken of this process and of all processes below it. `settled` waits until a census is no larger than
an earlier one, within a bound, for workers take a moment to go.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benches._children import descendants

SETTLE_S = 10.0
MEMFD = "memfd:"


@dataclass(frozen=True)
class Census:
    """What there is at one moment.

    Attributes:
        descriptors: Open files of this process.
        memfds: Anonymous memory files that this process has open or mapped, each mapping counted.
        shared_files: Entries of /dev/shm.
        threads: Threads of this process, native ones included.
        children: Processes below this one, zombies included.
    """

    descriptors: int
    memfds: int
    shared_files: int
    threads: int
    children: int

    def more_than(self, before: Census) -> dict[str, int]:
        """Give what there is more of than `before`, and how much more."""
        own, old = asdict(self), asdict(before)
        return {name: own[name] - old[name] for name in own if own[name] > old[name]}


def taken() -> Census:
    """Count now."""
    return Census(
        descriptors=len(os.listdir("/proc/self/fd")) - 1,  # noqa: PTH208 - the listing itself is the one
        memfds=memfds(),
        shared_files=sum(1 for _ in Path("/dev/shm").iterdir()),  # noqa: S108 - to count, not to write
        threads=sum(1 for _ in Path("/proc/self/task").iterdir()),
        children=len(descendants()),
    )


def settled(before: Census, seconds: float = SETTLE_S) -> Census:
    """Take a census as soon as there is no more of anything than `before`, or when the time is up."""
    end = time.monotonic() + seconds
    while (now := taken()).more_than(before) and time.monotonic() < end:
        time.sleep(0.05)
    return now


def memfds() -> int:
    """Count the anonymous memory files that are open or mapped here."""
    found = sum(MEMFD in line for line in Path("/proc/self/maps").read_text().splitlines())
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found += MEMFD in str(link.readlink())
    return found


def held_mib(process: int | str) -> float:
    """Give what a process keeps in memory, pages of files apart: its own pages and those of shared memory."""
    held = 0
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith(("RssAnon:", "RssShmem:")):
            held += int(line.split()[1])
    return held / 1024


def held_by_workers_mib() -> float:
    """Give what all processes below this one keep in memory together; what they share counts each time."""
    held = 0.0
    for process in descendants():
        with contextlib.suppress(OSError):
            held += held_mib(process)
    return held
