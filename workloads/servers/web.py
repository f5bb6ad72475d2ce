"""The web server that network tasks talk to: a set delay, then an answer. Standard library only.

``/delay/MS`` answers 1 KiB of text, ``/json/MS/ROWS`` a JSON list, ``/ws/MS`` speaks WebSocket and echoes. A second
port speaks lines: ``MS word`` is answered with ``word``. Prints ``HTTP_PORT LINE_PORT`` when ready.
"""

from __future__ import annotations

import asyncio
import json
import signal
from functools import cache

from workloads import data
from workloads.servers import announce, frames

_BACKLOG = 1024
_TEXT = b"a kibibyte of text " * 54


async def serve() -> None:
    """Listen on both ports until the starter says stop or is gone."""
    web = await asyncio.start_server(_web_connection, "127.0.0.1", 0, backlog=_BACKLOG)
    lines = await asyncio.start_server(_line_connection, "127.0.0.1", 0, backlog=_BACKLOG)
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_reader(0, stop.set)  # standard input turns readable when the starter closes it or dies
    announce(web.sockets[0].getsockname()[1], lines.sockets[0].getsockname()[1])
    await stop.wait()


async def _web_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while await _answer(reader, writer):
            pass
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Answer one request; say whether the connection stays open."""
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    kind, delay_ms, *rest = first.split()[1].strip("/").split("/")
    if kind == "ws":
        await _echo_messages(reader, writer, fields["sec-websocket-key"], int(delay_ms) / 1000)
        return False
    await asyncio.sleep(int(delay_ms) / 1000)
    body = _orders(int(rest[0])) if kind == "json" else _TEXT
    keep = fields.get("connection", "keep-alive").lower() != "close"
    writer.write(
        b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\nConnection: %s\r\n\r\n"
        % (
            b"application/json" if kind == "json" else b"text/plain",
            len(body),
            b"keep-alive" if keep else b"close",
        )
    )
    writer.write(body)
    await writer.drain()
    return keep


async def _echo_messages(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: str, delay: float
) -> None:
    accept = frames.accept_key(key.encode())
    writer.write(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: %s\r\n\r\n" % accept
    )
    while True:
        opcode, payload = await frames.read(reader)
        await asyncio.sleep(delay)
        writer.write(frames.encode(payload, opcode=opcode, masked=False))
        await writer.drain()
        if opcode == frames.CLOSE:
            return


async def _line_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while line := await reader.readline():
            delay_ms, _, word = line.partition(b" ")
            await asyncio.sleep(int(delay_ms) / 1000)
            writer.write(word)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


@cache
def _orders(rows: int) -> bytes:
    return json.dumps(data.records(rows)).encode()


if __name__ == "__main__":
    asyncio.run(serve())
