"""Compress and hash blocks of text: computing in C code that gives the GIL up."""

from __future__ import annotations

import contextlib
import hashlib
import zlib
from typing import TYPE_CHECKING

from whichever.cli.demo.job import Job
from whichever.cli.demo.sources import library_text

if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCK_BYTES = 1 << 20
BLOCKS = 80


def pack(block: bytes) -> tuple[str, int]:
    """Return the SHA-256 of `block` and the size that zlib brings it down to."""
    return hashlib.sha256(block).hexdigest(), len(zlib.compress(block, 6))


@contextlib.contextmanager
def blocks() -> Iterator[list[bytes]]:
    """Give 80 MiB of the standard library's sources in blocks of one MiB."""
    text = library_text(BLOCKS * BLOCK_BYTES)
    yield [text[start : start + BLOCK_BYTES] for start in range(0, len(text), BLOCK_BYTES)]


JOB = Job(
    title="Compress and hash",
    task="SHA-256 and zlib over one MiB of source text.",
    fn=pack,
    items=blocks,
    textbook="processes",
    because="computing: processes",
)
