"""The part of RFC 6455 that the demonstration speaks: the opening handshake and short, whole messages."""

from __future__ import annotations

import base64
import hashlib
import os
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # the RFC's own constant, section 1.3
FINAL_TEXT = 0x81
MASKED = 0x80
SHORT = 125
"""The longest payload whose length fits into the second byte; 126 announces two bytes of length."""


def request(key: bytes, port: int) -> bytes:
    """Build the client's opening request."""
    return (
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: %b\r\nSec-WebSocket-Version: 13\r\n\r\n" % (port, key)
    )


def new_key() -> bytes:
    """Make the random key that an opening request carries."""
    return base64.b64encode(os.urandom(16))


def key_in(head: bytes) -> bytes | None:
    """Return the key of an opening request; None when the request is an ordinary one."""
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"sec-websocket-key":
            return value.strip()
    return None


def accept(key: bytes) -> bytes:
    """Build the server's answer to an opening request with `key`."""
    proof = base64.b64encode(hashlib.sha1(key + GUID, usedforsecurity=False).digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: %b\r\n\r\n" % proof
    )


def frame(message: bytes, mask: bytes | None = None) -> bytes:
    """Build one text message; a client's must be masked with four random bytes."""
    length = bytes([len(message)]) if len(message) <= SHORT else struct.pack("!BH", 126, len(message))
    if mask is None:
        return bytes([FINAL_TEXT]) + length + message
    return bytes([FINAL_TEXT, length[0] | MASKED]) + length[1:] + mask + _masked(message, mask)


async def receive(reader: asyncio.StreamReader) -> bytes:
    """Read one message.

    Raises:
        asyncio.IncompleteReadError: The other side has gone.
    """
    _, length = await reader.readexactly(2)
    mask = bool(length & MASKED)
    size = length & ~MASKED
    if size > SHORT:
        (size,) = struct.unpack("!H", await reader.readexactly(2))
    key = await reader.readexactly(4) if mask else None
    message = await reader.readexactly(size)
    return message if key is None else _masked(message, key)


def _masked(message: bytes, key: bytes) -> bytes:
    return bytes(byte ^ key[position % 4] for position, byte in enumerate(message))
