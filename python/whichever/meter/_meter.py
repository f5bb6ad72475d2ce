"""The class behind ``with Meter() as meter``: names and types for what the native half has seen."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

from whichever._core import Meter as NativeMeter
from whichever._types import Ledger, TimelineSpan

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

_PARTS = ("held", "released", "waiting", "queued")
_SAME_NAME = (
    "wall", "gil", "tasks", "samples", "rate_hz", "held_off_cpu", "cpu", "child_cpu", "inner_cpu",
    "foreign_cpu", "releases", "minor_faults", "voluntary_switches", "first", "spread", "longest",
    "sampler_load", "queue_share",
)  # fmt: skip


class Meter(NativeMeter):
    """Meter tasks of one thread: the one that enters the meter.

    Enter it once. Several meters may run at once, in one thread or many; each has its own sampler. A task that
    raises passes its exception through and is not counted. After ``os.fork`` inside a task the child goes on
    without a sampler.

    While it is entered the process has one thread more, so ``os.fork`` warns (CPython 3.12 and later) where it
    did not before.

    Args:
        rate_hz: Samples per second, on average. If in doubt, leave it: 1000 costs about 2 % of a core.
        clocks_only: Use exact clocks alone, as on platforms where nothing else can be read.
    """

    _names: dict[int, str]

    def __new__(cls, *, rate_hz: float = 1000.0, clocks_only: bool = False) -> Self:
        """Make the native half, which starts nothing before the meter is entered."""
        if not rate_hz > 0:
            msg = f"rate_hz must be above 0, not {rate_hz}"
            raise ValueError(msg)
        meter = super().__new__(cls, rate_hz=rate_hz, clocks_only=clocks_only)
        meter._names = {}
        return meter

    def __enter__(self) -> Self:
        self.start()
        self._note_names()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._note_names()

    def ledger(self) -> Ledger:
        """Return where the time of the tasks so far went, as means per task.

        Call it in the metered thread, or after the meter was left: from elsewhere the last few short tasks may
        lack their CPU time.
        """
        return ledger_of(json.loads(self.ledger_json()))

    def timeline(self) -> tuple[TimelineSpan, ...]:
        """Return who did what when: at most 2000 spans, the shortest merged into their neighbours.

        ``merged_spans`` counts the merged ones. Threads that were there neither when the meter was entered nor
        when it was left, nor are there now, are named by their native id.
        """
        self._note_names()
        return tuple(
            TimelineSpan(
                start=start,
                seconds=seconds,
                thread=self._names.get(native_id, f"thread {native_id}"),
                state=state,
            )
            for start, seconds, native_id, state in self.spans()
        )

    def _note_names(self) -> None:
        """Remember the threads' names: the spans know native ids only. An id given out again keeps its first name."""
        for thread in threading.enumerate():
            if thread.native_id is not None:
                self._names.setdefault(thread.native_id, thread.name)


def ledger_of(saved: dict[str, Any]) -> Ledger:
    """Make a ledger of what the native half saves as JSON."""
    parts, errors = saved["parts"], saved["standard_error"]
    return Ledger(
        **{name: parts[name] for name in _PARTS},
        **{name: saved[name] for name in _SAME_NAME},
        blocked=parts["blocked"],
        standard_error={name: errors[name] for name in _PARTS} | errors["blocked"],
        unknown=tuple(saved["unknown"]),
    )
