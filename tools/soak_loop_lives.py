"""What the clients and servers of `soak_loop.py` do: each life is one connection, good or bad, decided by dice."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

BLOCK = random.Random(0).randbytes(1 << 20)
"""What every connection carries, from its own place on and round and round: so lost or swapped bytes show at once."""
LARGEST = 200_000
LINGER_0 = struct.pack("ii", 1, 0)
CALLBACKS = (
    "connection_made",
    "data_received",
    "eof_received",
    "pause_writing",
    "resume_writing",
    "connection_lost",
)
PLANNED = "planned"


def piece(place: int, size: int) -> bytes:
    """Give what stands at a place of the endless stream."""
    begin = place % len(BLOCK)
    part = BLOCK[begin : begin + size]
    return part if len(part) == size else part + BLOCK[: size - len(part)]


class Book:
    """What all lives together have seen.

    Attributes:
        connections: How many were made.
        messages: How many were answered in full.
        wrong: What was wrong, in words.
    """

    def __init__(self) -> None:
        self.connections = 0
        self.messages = 0
        self.wrong: list[str] = []


class Server(asyncio.Protocol):
    """Echoes; raises in one callback if its dice say so, and reads no more while its peer does not."""

    live = 0

    def __init__(self, dice: random.Random) -> None:
        self.raise_in = dice.choice(CALLBACKS) if dice.random() < 0.05 else ""
        self.lost = 0

    def _maybe_raise(self, callback: str) -> None:
        if callback == self.raise_in:
            raise ZeroDivisionError(PLANNED)

    def connection_made(self, transport: Any) -> None:
        """Begin."""
        Server.live += 1
        self.transport = transport
        transport.set_write_buffer_limits(high=100_000)
        self._maybe_raise("connection_made")

    def data_received(self, data: bytes) -> None:
        """Answer."""
        self._maybe_raise("data_received")
        # A message may be answered in two calls, which a loop may send as one.
        half = len(data) // 2
        self.transport.write(data[:half])
        self.transport.write(data[half:])

    def eof_received(self) -> bool:
        """Send what is left, then end."""
        self._maybe_raise("eof_received")
        return False

    def pause_writing(self) -> None:
        """Read no more until the peer has."""
        self.transport.pause_reading()
        self._maybe_raise("pause_writing")

    def resume_writing(self) -> None:
        """Go on reading."""
        self.transport.resume_reading()
        self._maybe_raise("resume_writing")

    def connection_lost(self, _error: Exception | None) -> None:
        """End, once."""
        Server.live -= 1
        self.lost += 1
        if self.lost > 1:
            msg = "connection_lost was called twice"
            raise AssertionError(msg)
        self._maybe_raise("connection_lost")


class Client(asyncio.Protocol):
    """Sends pieces of the stream and checks that they come back."""

    def __init__(self, book: Book, dice: random.Random) -> None:
        self.book, self.dice = book, dice
        self.sent = self.received = dice.randrange(len(BLOCK))
        self.progress = asyncio.Event()
        self.lost = asyncio.get_running_loop().create_future()
        self.losses = 0

    def connection_made(self, transport: Any) -> None:
        """Begin."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Compare with what was sent."""
        self.check(data)
        self.progress.set()

    def check(self, data: bytes) -> None:
        """Compare the next bytes that came back with the stream."""
        if data != piece(self.received, len(data)):
            self.book.wrong.append(f"other bytes than were sent, at {self.received}")
        self.received += len(data)
        if self.received > self.sent:
            self.book.wrong.append("more bytes than were sent")

    def connection_lost(self, error: Exception | None) -> None:
        """End, once."""
        self.losses += 1
        if self.losses > 1:
            self.book.wrong.append("connection_lost was called twice")
        # Whoever waited may have been cancelled.
        if not self.lost.done():
            self.lost.set_result(error)
        self.progress.set()

    def message(self) -> bytes:
        """Give the next message."""
        size = self.dice.choice((1, 20, 1000, 1000, 1000, 10_000, self.dice.randrange(1, LARGEST)))
        self.sent += size
        return piece(self.sent - size, size)

    async def answered(self) -> bool:
        """Wait until all is back; false when the connection has ended before."""
        while self.received < self.sent and not self.lost.done():
            self.progress.clear()
            await self.progress.wait()
        return self.received == self.sent

    async def talk(self, count: int) -> bool:
        """Send messages, each after the answer to the one before; false when the connection has ended."""
        for _ in range(count):
            self.transport.write(self.message())
            if not await self.answered():
                return False
            self.book.messages += 1
        return True


async def by_transport(port: int, book: Book, dice: random.Random) -> None:
    """Talk over a transport, and end in one of the ways there are."""
    loop = asyncio.get_running_loop()
    _, client = await loop.create_connection(lambda: Client(book, dice), "127.0.0.1", port)
    try:
        if await client.talk(dice.randrange(200)):
            await ENDS[dice.choice(list(ENDS))](client)
    finally:
        client.transport.abort()
        await client.lost


async def end_by_close(client: Client) -> None:
    """Close with nothing on its way."""
    client.transport.close()


async def end_by_half_close(client: Client) -> None:
    """Send a last message and the end of file: the answer must still come whole, unless the server raised."""
    client.transport.write(client.message())
    client.transport.write_eof()
    await client.lost


async def end_by_reset(client: Client) -> None:
    """Reset the connection in the middle of an answer."""
    client.transport.write(client.message())
    client.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_0)
    client.transport.abort()


async def end_by_abort(client: Client) -> None:
    """Abort in the middle of a message."""
    client.transport.write(client.message())
    client.transport.abort()


async def end_slowly(client: Client) -> None:
    """Do not read for a while, until the server has stopped as well."""
    client.transport.pause_reading()
    for _ in range(client.dice.randrange(50)):
        client.transport.write(client.message())
    await asyncio.sleep(client.dice.random() * 0.01)
    client.transport.resume_reading()
    await client.answered()


ENDS: dict[str, Callable[[Client], Awaitable[None]]] = {
    function.__name__: function
    for function in (end_by_close, end_by_half_close, end_by_reset, end_by_abort, end_slowly)
}


async def by_streams(port: int, book: Book, dice: random.Random) -> None:
    """Talk over asyncio's streams."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    place = dice.randrange(len(BLOCK))
    try:
        for _ in range(dice.randrange(100)):
            message = piece(place, dice.randrange(1, 20_000))
            writer.write(message)
            await writer.drain()
            if await reader.readexactly(len(message)) != message:
                book.wrong.append("other bytes than were sent, by streams")
            place += len(message)
            book.messages += 1
    finally:
        writer.close()
        await writer.wait_closed()


async def by_socket(port: int, book: Book, dice: random.Random) -> None:
    """Talk over a plain socket, and leave it without a word or with a reset."""
    loop = asyncio.get_running_loop()
    with socket.socket() as connection:
        connection.setblocking(False)  # noqa: FBT003 - takes no keyword
        await loop.sock_connect(connection, ("127.0.0.1", port))
        place = dice.randrange(len(BLOCK))
        for _ in range(dice.randrange(100)):
            message = piece(place, dice.randrange(1, 20_000))
            await loop.sock_sendall(connection, message)
            got = b""
            while len(got) < len(message):
                more = await loop.sock_recv(connection, 65_536)
                if not more:
                    return
                got += more
            if got != message:
                book.wrong.append("other bytes than were sent, by a socket")
            place += len(message)
            book.messages += 1
        if dice.random() < 0.5:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_0)


WAYS = (by_transport, by_transport, by_streams, by_socket)


async def live(port: int, book: Book, dice: random.Random) -> None:
    """Live one life, which may be cancelled in the middle; what a server that raised does to it is no error."""
    book.connections += 1
    way = dice.choice(WAYS)
    seconds = dice.random() * 0.02 if dice.random() < 0.1 else None
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, TimeoutError, OSError):
        async with asyncio.timeout(seconds):
            await way(port, book, dice)
