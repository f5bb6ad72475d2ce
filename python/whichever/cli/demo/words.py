"""Text statistics over real files: a little reading, a lot of regular expressions and counting."""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from whichever.cli.demo.job import Job
from whichever.cli.demo.sources import largest_files

if TYPE_CHECKING:
    from collections.abc import Iterator

WORD = re.compile(r"[^\W\d_]{2,}")


def frequent_words(path: str) -> list[tuple[str, int]]:
    """Return the twenty most frequent words of a text file, however they are capitalised."""
    text = Path(path).read_text(encoding="utf-8", errors="replace")
    return Counter(word.lower() for word in WORD.findall(text)).most_common(20)


@contextlib.contextmanager
def files() -> Iterator[list[str]]:
    """Give the paths of the 600 largest of the standard library's sources."""
    yield largest_files(600)


JOB = Job(
    title="Word statistics",
    task="The twenty most frequent words of one source file of the standard library.",
    fn=frequent_words,
    items=files,
    textbook="processes",
    because="computing: processes",
)
