"""Open and read many small files, which are in the page cache as most files in daily use are."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from whichever.cli.demo.job import Job
from whichever.cli.demo.sources import library_files

if TYPE_CHECKING:
    from collections.abc import Iterator


def read(path: str) -> int:
    """Return the number of bytes in the file."""
    with Path(path).open("rb") as file:
        return len(file.read())


@contextlib.contextmanager
def files() -> Iterator[list[str]]:
    """Give the paths of the standard library's sources, each of which has been read before."""
    paths = library_files(2000)
    for path in paths:
        read(path)
    yield paths


JOB = Job(
    title="Read small files",
    task="Open and read one source file of the standard library, from the page cache.",
    fn=read,
    items=files,
    textbook="threads",
    because="file access: threads",
)
