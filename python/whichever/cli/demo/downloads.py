"""A hundred downloads with a blocking library."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING
from urllib.request import urlopen

from whichever.cli.demo import server
from whichever.cli.demo.job import Job

if TYPE_CHECKING:
    from collections.abc import Iterator

DELAY_MS = 30


def download(url: str) -> int:
    """Return the size of the page at `url`, in bytes."""
    with urlopen(url, timeout=30) as answer:  # noqa: S310 - the job's own server
        return len(answer.read())


@contextlib.contextmanager
def urls() -> Iterator[list[str]]:
    """Run a server; give the addresses of a hundred of its pages."""
    with server.running(DELAY_MS) as port:
        yield [f"http://127.0.0.1:{port}/page/{number}" for number in range(100)]


JOB = Job(
    title="A hundred downloads",
    task="urllib fetches a page of 40 kB from a server that takes 30 ms to answer.",
    fn=download,
    items=urls,
    textbook="threads",
    because="waiting: threads",
)
