"""Waiting for a condition, with a bound; and what can be seen of processes from outside."""

import os
import time
from pathlib import Path

SECONDS = 15


def until(condition, seconds=SECONDS):
    """Say whether the condition comes true within the bound."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True


def written(path):
    """Return a condition: something was written to a file, which is there a moment before."""
    return lambda: path.exists() and path.stat().st_size > 0


def state_of(pid):
    """Return the letter of a process's state, as ps shows it; None when there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return stat.rpartition(")")[2].split()[0]


def is_alive(pid):
    """Say whether the process runs: a zombie does not."""
    return state_of(pid) not in (None, "Z", "X")


def descriptors(pid="self"):
    """Count the open descriptors of a process."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def threads(pid="self"):
    """Count the threads of a process."""
    return len(os.listdir(f"/proc/{pid}/task"))
