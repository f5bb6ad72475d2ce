"""SQLite: computing in memory, handing rows over, and a web handler's look-ups in a file."""

from __future__ import annotations

import sqlite3
import tempfile
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from workloads import data

if TYPE_CHECKING:
    from workloads.registry import Prepared

_COUNT = (
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) SELECT sum(i * i % 7) FROM n"
)
_ORDERS = "SELECT id, city, price FROM orders WHERE customer = ? ORDER BY price DESC LIMIT 20"


def compute_in_memory(count: int) -> int:
    with closing(sqlite3.connect(":memory:")) as database:
        total: int = database.execute(_COUNT, (count,)).fetchone()[0]
        return total


def fill_and_group(count: int) -> list[tuple[str, int]]:
    with closing(sqlite3.connect(":memory:")) as database:
        database.execute("CREATE TABLE orders (city TEXT, price REAL)")
        rows = ((data.CITIES[number % 10], number * 0.37) for number in range(count))
        database.executemany("INSERT INTO orders VALUES (?, ?)", rows)
        return database.execute("SELECT city, count(*) FROM orders GROUP BY city ORDER BY city").fetchall()


def handle_request(item: tuple[str, int]) -> list[tuple[int, str, float]]:
    """Answer as a small web handler does: one connection a request, some look-ups by key."""
    path, customer = item
    found: list[tuple[int, str, float]] = []
    with closing(sqlite3.connect(path)) as database:
        for offset in range(5):
            found += database.execute(_ORDERS, ((customer + offset) % 1_000,))
    return found


def _create(path: Path) -> None:
    rows = [(r["id"], int(str(r["id"])) % 1_000, r["city"], r["price"]) for r in data.records(30_000)]
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(
            "CREATE TABLE orders (id INTEGER PRIMARY KEY, customer INTEGER, city TEXT, price REAL)"
        )
        database.executemany("INSERT INTO orders VALUES (?, ?, ?, ?)", rows)
        database.execute("CREATE INDEX by_customer ON orders (customer)")


@contextmanager
def prepare_sqlite_compute() -> Prepared:
    yield compute_in_memory, [100_000 + number for number in range(40)]


@contextmanager
def prepare_sqlite_rows() -> Prepared:
    yield fill_and_group, [20_000 + number for number in range(30)]


@contextmanager
def prepare_sqlite_lookups() -> Prepared:
    with tempfile.TemporaryDirectory(prefix="workloads-") as folder:
        path = Path(folder) / "shop.sqlite"
        _create(path)
        yield handle_request, [(str(path), customer * 7 % 1_000) for customer in range(4_000)]
