"""Queues that `multiprocessing` takes along by fork, where nothing is pickled: they become shared just before.

A fork cannot be refused or seen into. But the process object that is being started can be looked at: what queues it was
given as arguments, or holds as attributes, are meant for the child. All others are copied by the fork as everything
is, and refuse to be used in the child.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING, Any

from whichever.queue._queue import Queue

if TYPE_CHECKING:
    from collections.abc import Iterator

_LAUNCH = "_launch"
"""The method of ``multiprocessing.popen_fork.Popen`` that forks; ``process_obj`` there is the process to be."""
_FRAMES = 4
_DEPTH = 4


def share_before_fork() -> None:
    """Make the queues shared that the process to be forked is given."""
    process = _process_to_be()
    if process is None:
        return
    given = [*process.__dict__.values(), getattr(getattr(process, "_target", None), "__self__", None)]
    for queue in _queues_in(given, _DEPTH):
        # An item may not pickle, or memory be short: the queue then stays here, and the child says so when it uses it.
        with contextlib.suppress(Exception):
            queue._share()  # noqa: SLF001 - another module of the same room


def _process_to_be() -> Any:
    frame = sys._getframe(1)  # noqa: SLF001 - there is no other way to see who forks
    for _ in range(_FRAMES):
        following = frame.f_back
        if following is None:
            return None
        frame = following
        if frame.f_code.co_name == _LAUNCH and "process_obj" in frame.f_locals:
            return frame.f_locals["process_obj"]
    return None


def _queues_in(value: object, depth: int) -> Iterator[Queue[Any]]:
    if isinstance(value, Queue):
        yield value
    elif depth and isinstance(value, (list, tuple)):
        for item in value:
            yield from _queues_in(item, depth - 1)
    elif depth and isinstance(value, dict):
        for item in value.values():
            yield from _queues_in(item, depth - 1)


os.register_at_fork(before=share_before_fork)
