"""A busy loop against `time.sleep`, item by item: half of the tasks compute, half of them wait."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from whichever.cli.demo.job import Job

if TYPE_CHECKING:
    from collections.abc import Iterator

PAIRS = 40
SLEEP_SECONDS = 0.02
TURNS = 1_200_000


def work_or_wait(kind: str) -> int:
    """Count in a loop for some 20 ms when `kind` is "busy"; sleep for 20 ms when it is "asleep"."""
    if kind == "asleep":
        time.sleep(SLEEP_SECONDS)
        return 0
    turns = 0
    while turns < TURNS:
        turns += 1
    return turns


@contextlib.contextmanager
def kinds() -> Iterator[list[str]]:
    """Give "busy" and "asleep" by turns."""
    yield ["busy", "asleep"] * PAIRS


JOB = Job(
    title="Busy loop and sleep",
    task="By turns a busy loop of some 20 ms and time.sleep(0.02).",
    fn=work_or_wait,
    items=kinds,
    textbook="threads",
    because="half of it waits: threads",
)
