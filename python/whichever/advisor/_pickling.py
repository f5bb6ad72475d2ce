"""Whether a value can cross into another process, and which part of it cannot.

Tries what the processes engine does: plain pickle, protocol 5, and cloudpickle where that refuses. Writes to a
sink that keeps nothing, so the size of a value costs no memory, and gives up looking after a while: what has
pickled well for so long is taken to be picklable, until the payload is measured.
"""

from __future__ import annotations

import pickle
import time
from typing import Any

import cloudpickle

from whichever.advisor._kinds import module_of

_SECONDS = 0.1


def why_not_picklable(value: Any, *, by_value: bool = False) -> str | None:
    """Say in words why `value` does not pickle; None when it does.

    Args:
        value: An argument, a result or a function.
        by_value: Skip plain pickle, for functions: plain pickle calls a function of ``__main__`` picklable
            by its name, which another process does not know.
    """
    if not by_value and _error(pickle.Pickler, value) is None:
        return None
    error = _error(cloudpickle.Pickler, value)
    if error is None:
        return None
    if isinstance(error, RecursionError) or isinstance(error.__cause__, RecursionError):
        return "is nested too deeply to pickle"
    culprit = _culprit(value)
    said = f"{type(error).__name__}: {error}"[:200]
    if culprit is None or culprit is value:
        return f"does not pickle ({said})"
    return f"does not pickle: it holds {_described(culprit)} ({said})"


class _EnoughError(Exception):
    """It has pickled well for long enough."""


class _Sink:
    def __init__(self) -> None:
        self._deadline = time.thread_time() + _SECONDS

    def write(self, data: Any) -> int:
        if time.thread_time() > self._deadline:
            raise _EnoughError
        return memoryview(data).nbytes


def _error(pickler: Any, value: Any) -> Exception | None:
    try:
        # arrays out of band: copying them would tell nothing
        pickler(_Sink(), 5, buffer_callback=lambda _buffer: None).dump(value)
    except _EnoughError:
        return None
    except Exception as error:  # noqa: BLE001 -- a user's pickling may raise anything, and that is the answer
        return error
    return None


class _Follower(cloudpickle.Pickler):  # type: ignore[misc] # cloudpickle has no types
    """Remembers what it came to last: on failure, that is what failed."""

    last: Any = None

    def persistent_id(self, value: Any) -> None:
        self.last = value


def _culprit(value: Any) -> Any:
    follower = _Follower(_Sink(), 5)
    try:
        follower.dump(value)
    except Exception:  # noqa: BLE001 -- expected: it failed before
        return follower.last
    return None


def _described(value: Any) -> str:
    kind = type(value)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{module_of(kind)}.{kind.__qualname__}"
    return f"a `{name}`"
