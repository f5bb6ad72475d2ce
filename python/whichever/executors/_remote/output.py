"""What tasks print, sent to the caller in the order in which it was printed.

``sys.stdout`` and ``sys.stderr`` are ordinary text streams over an outlet that both share. It sends whole lines,
or 8 KiB, or what there is at the end of a task. Descriptors 1 and 2 stay what they were: what native code or
programs that tasks start write there does not pass through here.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import sys
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from _typeshed import ReadableBuffer

    from .hooks import Hooks

_HELD_CHARACTERS = 8 * 1024
_STDOUT, _STDERR = 1, 2


class Outlet:
    """Holds text back until it is worth a message; one for both streams, so that their order is kept.

    Args:
        say: Sends a stream's number and text to the caller.
        hooks: Whose ``dirty`` says that something is held back.
    """

    def __init__(self, say: Callable[[int, str], None], hooks: Hooks) -> None:
        self._say = say
        self._hooks = hooks
        self._lock = threading.RLock()  # a signal handler may print while its thread does
        self._held: list[str] = []
        self._size = 0
        self._stream = _STDOUT

    def write(self, stream: int, text: str) -> None:
        """Take text for a stream."""
        with self._lock:
            if stream != self._stream:
                self.flush()
                self._stream = stream
            self._held.append(text)
            self._size += len(text)
            self._hooks.dirty = True
            if "\n" in text or self._size >= _HELD_CHARACTERS:
                self.flush()

    def flush(self) -> None:
        """Send all."""
        with self._lock:
            held, self._held, self._size = self._held, [], 0
            self._hooks.dirty = False
            if held:
                self._say(self._stream, "".join(held))

    def restart(self) -> None:
        """Serve the forked copy of the process: it has no caller, so it writes to the descriptors."""
        self._lock = threading.RLock()
        self._held, self._size = [], 0
        self._say = _write_through


class _Bytes(io.BufferedIOBase):
    """The bytes below a text stream, decoded for the outlet."""

    def __init__(self, outlet: Outlet, stream: int) -> None:
        self._outlet = outlet
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.name = "<stdout>" if stream == _STDOUT else "<stderr>"
        self.mode = "wb"

    def writable(self) -> bool:
        return True

    def write(self, data: ReadableBuffer) -> int:
        view = memoryview(data).cast("B")
        if text := self._decoder.decode(view):
            self._outlet.write(self._stream, text)
        return len(view)

    def flush(self) -> None:
        self._outlet.flush()

    def fileno(self) -> int:
        return self._stream

    def close(self) -> None:
        """Send what is left, but stay open: the other parts of the process print on."""
        self._outlet.flush()


def forward_output(core: Any, hooks: Hooks) -> Outlet:
    """Replace ``sys.stdout`` and ``sys.stderr``; return the outlet that they share."""
    outlet = Outlet(core.say, hooks)
    sys.stdout = sys.__stdout__ = _text_stream(outlet, _STDOUT)  # type: ignore[misc]  # they are plain variables
    sys.stderr = sys.__stderr__ = _text_stream(outlet, _STDERR)  # type: ignore[misc]
    os.register_at_fork(after_in_child=outlet.restart)
    return outlet


def flush_streams() -> None:
    """Write out what was printed."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # closed, replaced or None
            stream.flush()


def _text_stream(outlet: Outlet, stream: int) -> io.TextIOWrapper:
    # No buffer of its own, or the two streams' order would be lost.
    return io.TextIOWrapper(
        _Bytes(outlet, stream),
        encoding="utf-8",
        errors="strict" if stream == _STDOUT else "backslashreplace",
        newline="\n",
        write_through=True,
    )


def _write_through(stream: int, text: str) -> None:
    data = memoryview(text.encode(errors="replace"))
    while data:
        data = data[os.write(stream, data) :]
