"""Progress in one line of text, for terminals without more; and the thread that draws where a library has none."""

from __future__ import annotations

import contextlib
import shutil
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from whichever.executors._progress import Journey

_SECONDS = 0.5
_SLOW = 10  # tasks a second, below which the rate has a decimal


@contextmanager
def drawn(draw: Callable[[], None], seconds: float) -> Iterator[None]:
    """Call `draw` every so many seconds, from a thread of its own, and not once more after the end."""
    over = threading.Event()
    drawing = threading.Lock()

    def go_on() -> None:
        while not over.wait(seconds):
            with drawing:
                if not over.is_set():
                    draw()

    with contextlib.suppress(RuntimeError):  # there can be no more threads: then it is seen at the end only
        threading.Thread(target=go_on, name="whichever-progress", daemon=True).start()
    try:
        yield
    finally:
        over.set()
        with drawing:
            pass


class _Line:
    """A line that is written over."""

    def __init__(self, journey: Journey) -> None:
        self._journey = journey
        self._begun = time.monotonic()
        self._width = 0  # of what was written last

    def draw(self, end: str = "") -> None:
        """Write the line as it is now."""
        columns = shutil.get_terminal_size().columns - 1  # a full line would begin a new one
        text = self._text(is_over=bool(end))[:columns]
        padded, self._width = text.ljust(self._width), len(text)
        with contextlib.suppress(OSError, ValueError, AttributeError):  # nobody looks any more
            sys.stderr.write(f"\r{padded}{end}")
            sys.stderr.flush()

    def _text(self, *, is_over: bool) -> str:
        journey, count = self._journey, self._journey.count()
        seconds = max(time.monotonic() - self._begun, 1e-9)
        rate = count / seconds
        parts = [f"{journey.label()}: {count}" + ("" if journey.total is None else f"/{journey.total}")]
        parts.append(f"{rate:,.0f}/s" if rate >= _SLOW else f"{rate:.1f}/s")
        if is_over:
            parts.append(_clock(seconds))
        elif journey.total is not None and count:
            parts.append(f"{_clock(max(journey.total - count, 0) / rate)} left")
        return ", ".join(parts)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"


@contextmanager
def bar(journey: Journey) -> Iterator[None]:
    """Show `journey`."""
    line = _Line(journey)
    try:
        with drawn(line.draw, _SECONDS):
            yield
    finally:
        line.draw(end="\n")
