"""Many small WebSocket requests from coroutines: what asyncio was made for."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING

from whichever.cli.demo import server, websocket
from whichever.cli.demo.job import Job

if TYPE_CHECKING:
    from collections.abc import Iterator

REQUESTS = 150
DELAY_MS = 10


async def ask(question: tuple[int, str]) -> str:
    """Open a WebSocket to the server on a port, send one message, return the answer."""
    port, text = question
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(websocket.request(websocket.new_key(), port))
        await reader.readuntil(b"\r\n\r\n")
        writer.write(websocket.frame(text.encode(), mask=os.urandom(4)))
        return (await websocket.receive(reader)).decode()
    finally:
        writer.close()
        await writer.wait_closed()


@contextlib.contextmanager
def questions() -> Iterator[list[tuple[int, str]]]:
    """Run an echo server; give messages for it."""
    with server.running(DELAY_MS) as port:
        yield [(port, f'{{"subscribe": "instrument-{number}"}}') for number in range(REQUESTS)]


JOB = Job(
    title="WebSocket requests",
    task="A coroutine connects, sends one message to a server that thinks for 10 ms, reads the answer.",
    fn=ask,
    items=questions,
    textbook="async",
    because="many sockets: asyncio",
)
