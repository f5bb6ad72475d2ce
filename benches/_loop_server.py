"""One server on one event loop, for `loops.py`: says ``ready`` and serves until it is killed.

    _loop_server.py LOOP MODE ADDRESS

ADDRESS is a port of 127.0.0.1, or a path for ``unix``.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import resource
import socket
import ssl
import sys
from pathlib import Path
from typing import Any

from _loop_kinds import new_loop

BACKLOG = 4096
READ_BYTES = 256 * 1024
HEAD, BODY = b"h" * 100, b"b" * 1024
"""What the mode ``pair`` answers with, in two calls, as HTTP servers do."""
PAGE = b"Hello, World!"
CERTIFICATE = Path(__file__).resolve().parent.parent / "tests" / "loop" / "certs" / "localhost.pem"


class Echo(asyncio.Protocol):
    """Answers with what it gets."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class Pair(Echo):
    """Answers any message with a head and a body."""

    def data_received(self, _data: bytes) -> None:
        self.transport.write(HEAD)
        self.transport.write(BODY)


class Buffered(asyncio.BufferedProtocol):
    """Answers from a buffer of its own."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.buffer = bytearray(READ_BYTES)

    def get_buffer(self, _sizehint: int) -> bytearray:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.transport.write(self.buffer[:nbytes])


class Datagrams(asyncio.DatagramProtocol):
    """Answers each datagram."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.transport.sendto(data, addr)


async def streams(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(READ_BYTES):
            writer.write(data)
    writer.close()


async def one_socket(connection: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    with connection, contextlib.suppress(ConnectionError):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while data := await loop.sock_recv(connection, READ_BYTES):
            await loop.sock_sendall(connection, data)


async def sockets(port: int) -> None:
    listener = socket.create_server(("127.0.0.1", port), backlog=BACKLOG)
    listener.setblocking(False)  # noqa: FBT003 - takes no keyword
    loop = asyncio.get_running_loop()
    print("ready", flush=True)
    tasks = set()
    while True:
        connection, _ = await loop.sock_accept(listener)
        task = loop.create_task(one_socket(connection))
        tasks.add(task)
        task.add_done_callback(tasks.discard)


async def application(_scope: Any, _receive: Any, send: Any) -> None:
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(PAGE)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": PAGE})


async def uvicorn(port: int) -> None:
    package = importlib.import_module("uvicorn")
    config = package.Config(application, port=port, log_level="error", access_log=False, lifespan="off",
                            backlog=BACKLOG, loop="none")  # fmt: skip
    server = package.Server(config)
    serving = asyncio.ensure_future(server.serve())
    while not server.started:  # noqa: ASYNC110 - it has no event to wait for
        await asyncio.sleep(0.01)
    print("ready", flush=True)
    await serving


async def aiohttp(port: int) -> None:
    web = importlib.import_module("aiohttp.web")

    async def page(_request: Any) -> Any:
        return web.Response(text=PAGE.decode())

    site = web.Application()
    site.router.add_get("/", page)
    runner = web.AppRunner(site, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=BACKLOG).start()
    print("ready", flush=True)
    await asyncio.Event().wait()


def certificate() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return context


WHOLE = {"sock": sockets, "uvicorn": uvicorn, "aiohttp": aiohttp}
"""Modes that serve by themselves."""
PROTOCOLS: dict[str, Any] = {"protocol": Echo, "pair": Pair, "buffered": Buffered, "tls": Echo, "unix": Echo}


async def serve(mode: str, address: str) -> None:
    loop = asyncio.get_running_loop()
    if mode in WHOLE:
        await WHOLE[mode](int(address))
        return
    if mode == "udp":
        await loop.create_datagram_endpoint(Datagrams, ("127.0.0.1", int(address)))
    elif mode == "unix":
        await loop.create_unix_server(Echo, address, backlog=BACKLOG)
    elif mode == "streams":
        await asyncio.start_server(streams, "127.0.0.1", int(address), limit=READ_BYTES, backlog=BACKLOG)
    else:
        secure = certificate() if mode == "tls" else None
        await loop.create_server(PROTOCOLS[mode], "127.0.0.1", int(address), ssl=secure, backlog=BACKLOG)
    print("ready", flush=True)
    await asyncio.Event().wait()


def main() -> None:
    name, mode, address = sys.argv[1:]
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    loop = new_loop(name)
    asyncio.set_event_loop(loop)
    loop.run_until_complete(serve(mode, address))


if __name__ == "__main__":
    main()
