"""The web handler's look-ups in a real PostgreSQL as a coroutine, with asyncpg."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import asyncpg

from workloads.servers import running

if TYPE_CHECKING:
    from workloads.registry import Prepared

_ORDERS = "SELECT id, city, price FROM orders WHERE customer = $1 ORDER BY price DESC LIMIT 20"


async def handle_request(item: tuple[int, int]) -> int:
    port, customer = item
    connection = await asyncpg.connect(
        host="127.0.0.1", port=port, user="whichever", database="postgres", ssl=False, timeout=30
    )
    try:
        return sum([len(await connection.fetch(_ORDERS, (customer + n) % 1_000)) for n in range(5)])
    finally:
        await connection.close()


@contextmanager
def prepare_asyncpg_lookups() -> Prepared:
    with running("postgres") as (port,):
        yield handle_request, [(int(port), number * 7) for number in range(120)]
