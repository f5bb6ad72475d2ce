"""A producer and a consumer, as one task per page: fetch it from a slow source, then parse it.

What is measured is the two stages of one page one after the other. An engine that runs several tasks
at once overlaps the fetching of one page with the parsing of another, which is what a pipeline is for.
"""

from __future__ import annotations

import contextlib
import csv
import io
import statistics
from collections import defaultdict
from typing import TYPE_CHECKING
from urllib.request import urlopen

from whichever.cli.demo import server
from whichever.cli.demo.job import Job

if TYPE_CHECKING:
    from collections.abc import Iterator

DELAY_MS = 15
PAGES = 80


def fetch_and_parse(url: str) -> dict[str, float]:
    """Fetch a table as CSV and return the mean plus the deviation of the readings of each share."""
    with urlopen(url, timeout=30) as answer:  # noqa: S310 - the job's own server
        text = answer.read().decode()
    readings: defaultdict[str, list[float]] = defaultdict(list)
    for row in csv.DictReader(io.StringIO(text)):
        readings[f"{float(row['share']):.2f}"].append(float(row["reading"]))
    return {share: statistics.fmean(values) + statistics.pstdev(values) for share, values in readings.items()}


@contextlib.contextmanager
def urls() -> Iterator[list[str]]:
    """Run the slow source; give the addresses of its pages."""
    with server.running(DELAY_MS) as port:
        yield [f"http://127.0.0.1:{port}/table/{number}" for number in range(PAGES)]


JOB = Job(
    title="Fetch, then parse",
    task="A producer-consumer pipeline: fetch a CSV table (15 ms away), parse and summarise it.",
    fn=fetch_and_parse,
    items=urls,
    textbook="threads",
    because="a pipeline: threads and a queue",
)
