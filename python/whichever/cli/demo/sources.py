"""Real data that every installation has: the source files of the standard library."""

from __future__ import annotations

import sysconfig
from pathlib import Path


def library_files(count: int) -> list[str]:
    """Return the paths of the first `count` source files, by name; all of them when there are fewer."""
    return [str(path) for path in _library()[:count]]


def largest_files(count: int) -> list[str]:
    """Return the paths of the `count` largest source files, by name; all of them when there are fewer."""
    largest = sorted(_library(), key=lambda path: path.stat().st_size, reverse=True)[:count]
    return sorted(map(str, largest))


def _library() -> list[Path]:
    root = Path(sysconfig.get_path("stdlib"))
    skipped = {"site-packages", "dist-packages", "__pycache__"}
    return [path for path in sorted(root.rglob("*.py")) if skipped.isdisjoint(path.parts)]


def library_text(size_bytes: int) -> bytes:
    """Return the library's sources one after another, up to `size_bytes`; repeated when they are shorter."""
    text = bytearray()
    files = library_files(2000)
    while len(text) < size_bytes:
        for file in files:
            text += Path(file).read_bytes()
            if len(text) >= size_bytes:
                break
    return bytes(text[:size_bytes])
