"""The same downloads with httpx, as plain calls and as coroutines."""

from __future__ import annotations

import ssl
from contextlib import contextmanager
from typing import TYPE_CHECKING

import httpx

from workloads.tasks.web import delayed_urls

if TYPE_CHECKING:
    from workloads.registry import Prepared

# Loading the certificates costs a client 20 ms; plain HTTP has no use for them.
_NO_CERTIFICATES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def download(url: str) -> int:
    with httpx.Client(verify=_NO_CERTIFICATES, trust_env=False, timeout=30) as client:
        return len(client.get(url).content)


async def download_async(url: str) -> int:
    async with httpx.AsyncClient(verify=_NO_CERTIFICATES, trust_env=False, timeout=30) as client:
        return len((await client.get(url)).content)


@contextmanager
def prepare_httpx_50ms() -> Prepared:
    with delayed_urls(40, 50) as urls:
        yield download, urls


@contextmanager
def prepare_httpx_async_50ms() -> Prepared:
    with delayed_urls(40, 50) as urls:
        yield download_async, urls
