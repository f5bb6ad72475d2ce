"""Names the calls that block an event loop: looks at its stack whenever the meter sees it blocked outside poll."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import FrameType

    from whichever.meter import Meter

_PERIOD_S = 0.004
_NAMED = 3
"""How many different calls are worth naming."""


class LoopWatch:
    """Watches the thread that opens it, from a thread of its own, until it is closed."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._watched = threading.get_ident()
        self._seen: Counter[str] = Counter()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="whichever-loop-watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def found(self) -> tuple[str, ...]:
        """Give the calls seen more than once, the most frequent first, as `kind in function (file:line)`."""
        return tuple(text for text, seen in self._seen.most_common(_NAMED) if seen > 1)

    def _watch(self) -> None:
        while not self._stop.wait(_PERIOD_S):
            kind = self._meter.blocked_now()
            frame = sys._current_frames().get(self._watched) if kind is not None else None  # noqa: SLF001
            if kind is not None and frame is not None and (place := _place(frame)) is not None:
                self._seen[f"{kind} in {place}"] += 1


def _place(frame: FrameType | None) -> str | None:
    """Name the innermost frame of the task: none when the event loop itself runs."""
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module == "asyncio" or module.startswith(("asyncio.", "whichever.")):
            return None
        code = frame.f_code
        if not module.startswith(("socket", "ssl", "selectors", "http.", "urllib.", "subprocess", "queue")):
            return f"{code.co_qualname} ({code.co_filename.rpartition('/')[2]}:{frame.f_lineno})"
        frame = frame.f_back
    return None
