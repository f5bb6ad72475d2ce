"""Protocols that raise, and protocols with buffers of their own."""

import asyncio
import contextlib
import random
import socket

import pytest
from peers import Echo, Recorder, connected, plain_client, served, until


class Raising(Recorder):
    """Raises in the callback that `raise_in` names."""

    raise_in = ""

    def __getattribute__(self, name):
        found = super().__getattribute__(name)
        if name != "raise_in" and name == self.raise_in:

            def broken(*arguments):
                found(*arguments)
                raise ZeroDivisionError(name)

            return broken
        return found


class RaisingBuffered(Raising, asyncio.BufferedProtocol):
    """The same, with a buffer."""

    def __init__(self):
        super().__init__()
        self.buffer = bytearray(100)

    def get_buffer(self, _sizehint):
        return self.buffer

    def buffer_updated(self, nbytes):
        self.data += self.buffer[:nbytes]


@pytest.mark.parametrize(
    ("base", "callback"),
    [
        (Raising, "data_received"),
        (Raising, "eof_received"),
        (RaisingBuffered, "get_buffer"),
        (RaisingBuffered, "buffer_updated"),
    ],
)
def test_a_protocol_that_raises_loses_its_connection_with_that_error(loop, run, base, callback):
    kind = type("Kind", (base,), {"raise_in": callback})

    async def main():
        async with served(kind) as (port, made):
            with plain_client(port) as plain:
                await until(lambda: made and hasattr(made[0], "transport"))
                await loop.sock_sendall(plain, b"x")
                plain.shutdown(socket.SHUT_WR)
                error = await made[0].lost
                assert isinstance(error, ZeroDivisionError)
                assert made[0].events.count("lost") == 1

    run(main())
    (context,) = loop.told
    assert isinstance(context["exception"], ZeroDivisionError)
    loop.told.clear()


@pytest.mark.parametrize("callback", ["connection_lost", "pause_writing", "resume_writing"])
def test_a_protocol_that_raises_elsewhere_is_told_of_and_the_loop_goes_on(loop, run, callback):
    kind = type("Kind", (Raising,), {"raise_in": callback})

    async def main():
        async with served(kind) as (port, made):
            with plain_client(port) as plain:
                await until(lambda: made and hasattr(made[0], "transport"))
                server = made[0]
                count = 0
                while "pause" not in server.events:
                    server.transport.write(b"x" * 100_000)
                    count += 1
                got = 0
                while got < count * 100_000:
                    got += len(await loop.sock_recv(plain, 1 << 20))
                await until(lambda: "resume" in server.events)
                server.transport.close()
                await server.lost

    run(main())
    (context,) = loop.told
    assert isinstance(context["exception"], ZeroDivisionError)
    loop.told.clear()


def test_a_protocol_that_raises_when_it_is_made_is_told_of(loop, run):
    kind = type("Kind", (Raising,), {"raise_in": "connection_made"})

    async def main():
        async with served(kind) as (port, made):
            with plain_client(port):
                await until(lambda: loop.told)
                made[0].transport.abort()
                await made[0].lost

    run(main())
    assert isinstance(loop.told[0]["exception"], ZeroDivisionError)
    loop.told.clear()


# asyncio's loop leaves the socket to the collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_protocol_factory_that_raises_costs_only_its_own_connection(loop, run):
    protocols = []

    def factory():
        if len(protocols) == 0:
            protocols.append(None)
            raise ZeroDivisionError
        protocols.append(Echo())
        return protocols[-1]

    async def main():
        server = await loop.create_server(factory, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        with plain_client(port) as first, contextlib.suppress(ConnectionResetError):
            assert await loop.sock_recv(first, 10) == b""
        with plain_client(port) as second:
            await loop.sock_sendall(second, b"hi")
            assert await loop.sock_recv(second, 10) == b"hi"
        server.close()
        await protocols[1].lost
        await server.wait_closed()

    run(main())
    loop.told.clear()


class Buffered(asyncio.BufferedProtocol):
    """Collects what comes through a small buffer of its own."""

    def __init__(self):
        self.buffer = bytearray(1000)
        self.data = bytearray()
        self.events = []
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport

    def get_buffer(self, sizehint):
        assert isinstance(sizehint, int)
        return memoryview(self.buffer)[: 1 + len(self.data) % 999]

    def buffer_updated(self, nbytes):
        self.data += self.buffer[:nbytes]

    def eof_received(self):
        self.events.append("eof")

    def connection_lost(self, error):
        self.lost.set_result(error)


def test_a_buffered_protocol_gets_everything_in_its_own_buffer(loop, run):
    message = random.Random(4).randbytes(300_000)

    async def main():
        async with connected(served_by=Buffered) as (client, server):
            client.transport.write(message)
            client.transport.write_eof()
            assert await server.lost is None
            assert server.data == message
            assert server.events == ["eof"]

    run(main())


def test_an_empty_buffer_of_a_protocol_is_an_error(loop, run):
    class Empty(Buffered):
        def get_buffer(self, _sizehint):
            return bytearray()

    async def main():
        async with connected(served_by=Empty) as (client, server):
            client.transport.write(b"x")
            assert isinstance(await server.lost, RuntimeError)

    run(main())
    assert isinstance(loop.told[0]["exception"], RuntimeError)
    loop.told.clear()
