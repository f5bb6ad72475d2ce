"""A web handler's blocking look-ups in a real PostgreSQL, and one slow query, with psycopg."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg

from workloads.servers import running

if TYPE_CHECKING:
    from workloads.registry import Prepared

_ORDERS = "SELECT id, city, price FROM orders WHERE customer = %s ORDER BY price DESC LIMIT 20"


def _address(port: str) -> str:
    return f"host=127.0.0.1 port={port} user=whichever dbname=postgres sslmode=disable connect_timeout=30"


def handle_request(item: tuple[str, int]) -> int:
    """Answer as a handler without a connection pool does: connect, look up five customers, close."""
    address, customer = item
    with psycopg.connect(address) as connection:
        return sum(len(connection.execute(_ORDERS, ((customer + n) % 1_000,)).fetchall()) for n in range(5))


def slow_query(item: tuple[str, float]) -> int:
    address, seconds = item
    with psycopg.connect(address) as connection:
        row = connection.execute("SELECT count(*) FROM orders, pg_sleep(%s) AS pause", (seconds,)).fetchone()
        return int(row[0]) if row else 0


@contextmanager
def prepare_psycopg_lookups() -> Prepared:
    with running("postgres") as (port,):
        yield handle_request, [(_address(port), number * 7) for number in range(100)]


@contextmanager
def prepare_psycopg_slow_query() -> Prepared:
    with running("postgres") as (port,):
        yield slow_query, [(_address(port), 0.04)] * 30
