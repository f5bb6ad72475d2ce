"""Child processes: one that computes, one that only waits."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workloads.registry import Prepared

_COMPUTE = "import sys; print(sum(i * i for i in range(int(sys.argv[1]))))"


def child_sum(count: int) -> int:
    command = [sys.executable, "-I", "-S", "-c", _COMPUTE, str(count)]
    return int(subprocess.run(command, check=True, capture_output=True, timeout=60).stdout)


def child_sleep(seconds: float) -> int:
    return subprocess.run(["/bin/sleep", str(seconds)], check=True, timeout=60).returncode


@contextmanager
def prepare_child_computes() -> Prepared:
    yield child_sum, [300_000 + number for number in range(24)]


@contextmanager
def prepare_child_waits() -> Prepared:
    yield child_sleep, [0.05] * 24
