"""HTTP, WebSocket and line protocols with the standard library alone, against our own server."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, build_opener

from workloads.servers import frames, running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from workloads.registry import Prepared

_TIMEOUT = 30.0


@contextmanager
def web_server() -> Iterator[tuple[str, int]]:
    """Yield the base URL and the line protocol's port of a fresh server."""
    with running("web") as (web_port, line_port):
        yield f"http://127.0.0.1:{web_port}", int(line_port)


@contextmanager
def delayed_urls(count: int, delay_ms: int) -> Iterator[list[str]]:
    """Yield `count` addresses that each answer 1 KiB after `delay_ms`."""
    with web_server() as (base, _):
        yield [f"{base}/delay/{delay_ms}/{number}" for number in range(count)]


def download(url: str) -> int:
    with build_opener(ProxyHandler({})).open(url, timeout=_TIMEOUT) as answer:
        return len(answer.read())


def download_orders(url: str) -> float:
    with build_opener(ProxyHandler({})).open(url, timeout=_TIMEOUT) as answer:
        orders: list[dict[str, float]] = json.loads(answer.read())
    return sum(order["price"] for order in orders)


async def download_by_streams(url: str) -> int:
    parts = urlsplit(url)
    async with asyncio.timeout(_TIMEOUT):
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        try:
            writer.write(
                f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n\r\n".encode()
            )
            _, _, body = (await reader.read(-1)).partition(b"\r\n\r\n")
        finally:
            writer.close()
            await writer.wait_closed()
    return len(body)


async def talk_by_web_socket(url: str) -> list[str]:
    """Open a web socket, send five messages one after the other, return the answers."""
    parts = urlsplit(url)
    key = base64.b64encode(os.urandom(16)).decode()
    async with asyncio.timeout(_TIMEOUT):
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        try:
            writer.write(
                f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade: websocket\r\n"
                f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
            )
            await reader.readuntil(b"\r\n\r\n")
            answers = [await _ask(reader, writer, f"message {number}") for number in range(5)]
            writer.write(frames.encode(b"", opcode=frames.CLOSE, masked=True))
            await frames.read(reader)
        finally:
            writer.close()
            await writer.wait_closed()
    return answers


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, text: str) -> str:
    writer.write(frames.encode(text.encode(), masked=True))
    _, payload = await frames.read(reader)
    return payload.decode()


def ask_line_server(item: tuple[int, str]) -> str:
    port, line = item
    with socket.create_connection(("127.0.0.1", port), timeout=_TIMEOUT) as connection:
        connection.sendall(line.encode())
        return connection.makefile("r", encoding="utf-8").readline()


@contextmanager
def prepare_urllib_5ms() -> Prepared:
    with delayed_urls(100, 5) as urls:
        yield download, urls


@contextmanager
def prepare_urllib_50ms() -> Prepared:
    with delayed_urls(50, 50) as urls:
        yield download, urls


@contextmanager
def prepare_urllib_json() -> Prepared:
    with web_server() as (base, _):
        yield download_orders, [f"{base}/json/10/{4_000 + number % 4}" for number in range(40)]


@contextmanager
def prepare_streams_50ms() -> Prepared:
    with delayed_urls(50, 50) as urls:
        yield download_by_streams, urls


@contextmanager
def prepare_web_sockets() -> Prepared:
    with web_server() as (base, _):
        yield talk_by_web_socket, [f"{base}/ws/10"] * 30


@contextmanager
def prepare_line_sockets() -> Prepared:
    with web_server() as (_, port):
        yield ask_line_server, [(port, f"20 word{number}\n") for number in range(60)]
