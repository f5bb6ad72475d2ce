"""What the tests of loops connect with each other."""

import asyncio
import contextlib
import socket
import struct
import time

BOUND_S = 20


async def until(happened):
    """Wait until something has happened, within a bound."""
    end = time.monotonic() + BOUND_S
    while not happened():
        assert time.monotonic() < end, "it has not happened"
        await asyncio.sleep(0.001)


class Recorder(asyncio.Protocol):
    """Notes what its transport tells it."""

    def __init__(self):
        self.events = []
        self.data = bytearray()
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport
        self.events.append("made")

    def data_received(self, data):
        assert type(data) is bytes
        self.data += data
        if self.events[-1] != "data":
            self.events.append("data")

    def eof_received(self):
        self.events.append("eof")

    def pause_writing(self):
        self.events.append("pause")

    def resume_writing(self):
        self.events.append("resume")

    def connection_lost(self, error):
        self.events.append("lost")
        self.lost.set_result(error)


class Echo(Recorder):
    """Answers with what it gets."""

    def data_received(self, data):
        super().data_received(data)
        self.transport.write(data)


def reset(connection):
    """Close a socket so that its peer gets a RST."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


@contextlib.asynccontextmanager
async def served(protocol=Echo, **options):
    """Serve TCP with one protocol for each connection; give the port and the protocols so far."""
    made = []

    def factory():
        made.append(protocol())
        return made[-1]

    server = await asyncio.get_running_loop().create_server(factory, "127.0.0.1", 0, **options)
    try:
        yield server.sockets[0].getsockname()[1], made
    finally:
        server.close()
        for one in made:
            if hasattr(one, "transport") and hasattr(one, "lost"):
                one.transport.abort()
                await one.lost
        await server.wait_closed()


@contextlib.asynccontextmanager
async def connected(protocol=Recorder, served_by=Echo, **options):
    """Connect two protocols over TCP; give the client's and the server's."""
    loop = asyncio.get_running_loop()
    async with served(served_by) as (port, made):
        _, client = await loop.create_connection(protocol, "127.0.0.1", port, **options)
        await until(lambda: made and hasattr(made[0], "transport"))
        try:
            yield client, made[0]
        finally:
            client.transport.abort()
            if hasattr(client, "lost"):
                await client.lost


@contextlib.contextmanager
def plain_client(port):
    """Connect a plain socket that waits for nothing."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setblocking(False)
        yield connection
