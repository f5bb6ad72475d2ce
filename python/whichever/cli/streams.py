"""Who may write where: the answer on standard output, everything else on standard error."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from typing import TYPE_CHECKING, Self, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType


@contextlib.contextmanager
def stdout_on_stderr() -> Iterator[None]:
    """Send what tasks print, here and in worker processes, to standard error while the block runs."""
    sys.stdout.flush()
    saved = os.dup(1)
    os.dup2(2, 1)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(saved, 1)
        os.close(saved)


class ProgressLine:
    """One line on a terminal that is written over again and again; elsewhere only what is to be kept.

    It is written by whoever calls, never by a thread of its own: a spinner that takes the GIL ten times a
    second would stand in the ledger of the tasks being metered.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._width = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.clear()

    def say(self, text: str) -> None:
        """Show `text` in place of what was shown before."""
        if not self._stream.isatty():
            return
        room = shutil.get_terminal_size().columns - 1
        shown = text if len(text) <= room else text[: room - 1] + "…"
        self._stream.write("\r" + shown.ljust(self._width))
        self._stream.flush()
        self._width = len(shown)

    def keep(self, text: str) -> None:
        """Write `text` as a line that stays, on a terminal and elsewhere."""
        self.clear()
        self._stream.write(f"{text}\n")
        self._stream.flush()

    def clear(self) -> None:
        """Leave an empty line."""
        if self._width:
            self._stream.write("\r" + " " * self._width + "\r")
            self._stream.flush()
            self._width = 0

    def behind(self, prefix: str) -> Callable[[str], None]:
        """Return a `say` that puts `prefix` first."""
        return lambda text: self.say(f"{prefix}{text}")
