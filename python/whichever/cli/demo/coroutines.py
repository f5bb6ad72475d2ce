"""Coroutines with a blocking call inside: asyncio in name only."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING
from urllib.request import urlopen

from whichever.cli.demo import server
from whichever.cli.demo.job import Job

if TYPE_CHECKING:
    from collections.abc import Iterator

DELAY_MS = 20


async def fetch(url: str) -> int:
    """Return the size of the page at `url`; the call inside blocks the event loop until it is there."""
    with urlopen(url, timeout=30) as answer:  # noqa: S310, ASYNC210 - the mistake that this job is about
        return len(answer.read())


@contextlib.contextmanager
def urls() -> Iterator[list[str]]:
    """Run a server; give the addresses of its pages."""
    with server.running(DELAY_MS) as port:
        yield [f"http://127.0.0.1:{port}/page/{number}" for number in range(60)]


JOB = Job(
    title="Coroutine that blocks",
    task="A coroutine calls urllib, which blocks; the server takes 20 ms.",
    fn=fetch,
    items=urls,
    textbook="async",
    because="waiting on the network: asyncio",
)
