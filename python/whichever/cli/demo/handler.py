"""A web handler with blocking database look-ups and few clients."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, quote, urlsplit

from whichever.cli.demo.job import Job
from whichever.cli.demo.sources import library_files

if TYPE_CHECKING:
    from collections.abc import Iterator

LINES = 60_000
REQUESTS = 300
SEARCHED = ("socket", "timeout", "buffer", "encoding", "thread", "signal", "pickle", "decimal")

TOTALS = "SELECT file, count(*), max(length(text)) FROM line WHERE text LIKE ? AND id % 8 = ? GROUP BY file"
FIRST = "SELECT file, id, text FROM line WHERE file = ? ORDER BY id LIMIT 10"


def handle(request: tuple[str, bytes]) -> bytes:
    """Answer one HTTP request for a search in the database file: parse, look up, render JSON."""
    database, head = request
    target = head.split(maxsplit=2)[1].decode()
    query = {name: values[0] for name, values in parse_qs(urlsplit(target).query).items()}
    with contextlib.closing(sqlite3.connect(f"file:{quote(database)}?mode=ro", uri=True)) as connection:
        totals = connection.execute(TOTALS, (f"%{query['word']}%", int(query["part"]))).fetchall()
        first = connection.execute(FIRST, (totals[0][0],)).fetchall() if totals else []
    body = json.dumps({"word": query["word"], "files": totals, "first": first}).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
        len(body),
        body,
    )


@contextlib.contextmanager
def requests() -> Iterator[list[tuple[str, bytes]]]:
    """Fill a database file with the library's source lines; give search requests for it."""
    with tempfile.TemporaryDirectory(prefix="whichever-demo-") as folder:
        database = str(Path(folder) / "lines.sqlite")
        _fill(database)
        yield [(database, _request(number)) for number in range(REQUESTS)]


def _request(number: int) -> bytes:
    word = SEARCHED[number % len(SEARCHED)]
    return f"GET /search?word={word}&part={number % 8} HTTP/1.1\r\nHost: example\r\n\r\n".encode()


def _fill(database: str) -> None:
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("CREATE TABLE line (id INTEGER PRIMARY KEY, file TEXT, text TEXT)")
        connection.executemany("INSERT INTO line (file, text) VALUES (?, ?)", _lines())
        connection.execute("CREATE INDEX line_file ON line (file)")


def _lines() -> Iterator[tuple[str, str]]:
    left = LINES
    for path in library_files(2000):
        lines = Path(path).read_text(encoding="utf-8", errors="replace").splitlines()[:left]
        yield from ((Path(path).name, line) for line in lines)
        left -= len(lines)
        if not left:
            return


JOB = Job(
    title="Web handler, SQLite",
    task="Parse a request, search 60 000 rows of a SQLite file with blocking queries, render JSON.",
    fn=handle,
    items=requests,
    textbook="threads",
    because="blocking database calls: threads",
)
