"""Tasks of the soak runs, importable by name, whose results the caller can check."""

from __future__ import annotations

import time
import zlib

SHORT, MIDDLE, LARGE = 0, 5_000, 300_000
BUSY_S = 0.0001
"""What a task computes, so that a kill mostly meets a task that is running."""


def payload(number: int) -> bytes:
    """Give the bytes that travel with task `number`: mostly none, now and then enough to go their own way."""
    size = LARGE if number % 97 == 0 else MIDDLE if number % 31 == 0 else SHORT
    return bytes([number % 251]) * size


def checked(number: int, sent: bytes) -> tuple[int, int, bytes]:
    """Compute for a moment, then answer with a checksum of what was sent, and with bytes of the task's own."""
    end = time.thread_time() + BUSY_S
    while time.thread_time() < end:
        pass
    return number, zlib.crc32(sent), payload(number + 1)


def expected(number: int) -> tuple[int, int, bytes]:
    """Give what `checked` must answer."""
    return number, zlib.crc32(payload(number)), payload(number + 1)


def nothing() -> None:
    """Do nothing."""


def doubled(number: int) -> int:
    """Double a number."""
    return 2 * number
