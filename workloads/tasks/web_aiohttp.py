"""The same downloads with aiohttp: coroutines, one session a call."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import aiohttp

from workloads.tasks.web import delayed_urls, web_server

if TYPE_CHECKING:
    from workloads.registry import Prepared

_TIMEOUT = aiohttp.ClientTimeout(total=30)


async def download(url: str) -> int:
    async with aiohttp.ClientSession(timeout=_TIMEOUT) as session, session.get(url) as answer:
        return len(await answer.read())


async def download_orders(url: str) -> float:
    async with aiohttp.ClientSession(timeout=_TIMEOUT) as session, session.get(url) as answer:
        orders: list[dict[str, float]] = await answer.json()
    return sum(order["price"] for order in orders)


@contextmanager
def prepare_aiohttp_5ms() -> Prepared:
    with delayed_urls(100, 5) as urls:
        yield download, urls


@contextmanager
def prepare_aiohttp_50ms() -> Prepared:
    with delayed_urls(50, 50) as urls:
        yield download, urls


@contextmanager
def prepare_aiohttp_json() -> Prepared:
    with web_server() as (base, _):
        yield download_orders, [f"{base}/json/10/{4_000 + number % 4}" for number in range(40)]
