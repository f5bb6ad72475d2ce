"""What the benches of the automatic pool share: which workloads are run, quiet while one is, and why a run failed."""

from __future__ import annotations

import contextlib
import fcntl
import re
from typing import TYPE_CHECKING

from workloads.registry import Workload, workloads

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator
    from pathlib import Path

    from benches._children import Ending

QUICK = (
    "time_sleep", "busy_loop", "sleepers_beside_busy", "tiny_tasks", "short_tasks", "uneven_tasks", "urllib_50ms",
    "urllib_json", "asyncio_sleep", "asyncio_compute", "zlib_compress", "large_objects_out", "numpy_big_result",
    "small_files", "child_waits", "closure_list",
)  # fmt: skip
"""Every kind once: waits, computes, both; tiny to uneven; with and without the GIL; large; hazardous."""


class CannotError(Exception):
    """A contender does not run a workload; the text says why."""


def chosen(options: argparse.Namespace) -> list[Workload]:
    """Name the workloads to run, by ``only``, ``tag`` or ``full``, saying which cannot."""
    only = options.only.split(",") if options.only else None
    found = []
    for workload in workloads().values():
        if only is not None:
            wanted = workload.name in only
        elif options.tag:
            wanted = options.tag in workload.tags
        else:
            wanted = options.full or workload.name in QUICK
        if wanted and (missing := workload.missing()):
            print(f"{workload.name}: left out, {', '.join(missing)} is not installed", flush=True)
        elif wanted:
            found.append(workload)
    return found


@contextlib.contextmanager
def quiet(lock: Path | None) -> Iterator[None]:
    """Hold a file's lock, if there is one, for programs that keep quiet meanwhile."""
    if lock is None:
        yield
        return
    with lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def why(ending: Ending) -> str:
    """Say why a program has no answer: by the exception that it printed last."""
    told = r"[\w.]+(Error|Exception|Interrupt|Died)\b"
    lines = [text for text in ending.said.splitlines() if re.match(told, text)]
    return lines[-1][:200] if lines else f"exit code {ending.code}"
