"""Messages over a byte stream: a frame is a list of blobs, sent with their lengths in front.

Layout: number of blobs (u32), bytes that follow (u64), one length per blob (u64 each), the blobs.
Large blobs are neither joined nor copied before they are written.
"""

from __future__ import annotations

import os
import struct
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

HEAD = struct.Struct("<IQ")
LARGE_BYTES = 64 * 1024  # above it a copy costs more than a further write call


def frame(blobs: Sequence[bytes]) -> list[bytes]:
    """Return the pieces to write, in order, for `blobs` (at least one)."""
    table = struct.pack(f"<{len(blobs)}Q", *map(len, blobs))
    pieces: list[bytes] = []
    small = [HEAD.pack(len(blobs), len(table) + sum(map(len, blobs))), table]
    for blob in blobs:
        if len(blob) < LARGE_BYTES:
            small.append(blob)
        else:
            pieces += (b"".join(small), blob)
            small = []
    if small:
        pieces.append(b"".join(small))
    return pieces


class Inbox:
    """Collects the bytes of one frame after the other, however they arrive."""

    def __init__(self) -> None:
        self._count = 0  # blobs of the frame whose body is being read; 0 while its head is
        self._expect(HEAD.size)

    def _expect(self, size: int) -> None:
        self._view = memoryview(bytearray(size))
        self._filled = 0

    def read(self, read_into: Callable[[memoryview], int]) -> list[memoryview]:
        """Read on until a frame is complete and return its blobs.

        Raises:
            EOFError: The stream has ended.
            BlockingIOError: Nothing more for now (raised by `read_into`); call again later.
        """
        while True:
            while self._filled < len(self._view):
                got = read_into(self._view[self._filled :])
                if not got:
                    raise EOFError
                self._filled += got
            if self._count:
                return self._finish()
            self._count, size = HEAD.unpack(self._view)
            self._expect(size)

    def _finish(self) -> list[memoryview]:
        body, count = self._view, self._count
        self._count = 0
        self._expect(HEAD.size)
        offset = 8 * count
        ends = [offset]
        for length in struct.unpack_from(f"<{count}Q", body):
            offset += length
            ends.append(offset)
        return [body[start:end] for start, end in pairwise(ends)]


def send(fd: int, blobs: Sequence[bytes]) -> None:
    """Write a frame to a blocking descriptor."""
    for piece in frame(blobs):
        view = memoryview(piece)
        while view:
            view = view[os.write(fd, view) :]


def reader(fd: int) -> Callable[[memoryview], int]:
    """Return a function that reads from `fd` into a buffer."""
    return lambda view: os.readv(fd, [view])
