"""TLS on our transports: asyncio's own protocol, with a shorter way for bytes that arrive.

Contexts, handshakes, shutdown and flow are asyncio's, so that every setting of `ssl.SSLContext` holds. But asyncio
reads 256 KiB from OpenSSL each time, which is memory from the kernel and back to it, and goes on until an exception
says that there is no more. Here a read asks for no more than can have come, and ends when nothing is left.
"""

from __future__ import annotations

import ssl
from asyncio import sslproto
from typing import Any

_States = sslproto.SSLProtocolState
# Its attributes are in no stub.
_Protocol: Any = sslproto.SSLProtocol


class TlsProtocol(_Protocol):  # type: ignore[misc]
    """What stands between a transport and a program's protocol."""

    max_size = 16 * 1024
    """What asyncio reads at once, for those who fill this protocol's own buffer: TLS inside of TLS."""

    def data_received(self, data: bytes) -> None:
        """Take what has arrived, as `buffer_updated` does."""
        self._incoming.write(data)
        state = self._state
        if state is _States.WRAPPED:
            self._do_read()
        elif state is _States.DO_HANDSHAKE:
            self._do_handshake()
        elif state is _States.FLUSHING:
            self._do_flush()
        elif state is _States.SHUTDOWN:
            self._do_shutdown()

    def _do_read__copied(self) -> None:
        """Decrypt what has arrived, and hand it on in one piece."""
        incoming, session = self._incoming, self._sslobj
        chunks: list[bytes] = []
        is_over = False
        # Plain text is never longer than what it was encrypted to.
        most = incoming.pending + session.pending()
        try:
            while most and not is_over:
                chunk = session.read(most)
                is_over = not chunk
                chunks.append(chunk)
                most = incoming.pending + session.pending()
        except (ssl.SSLWantReadError, ssl.SSLSyscallError):
            pass
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        if data:
            self._app_protocol.data_received(data)
        if is_over:
            self._call_eof_received()
            self._start_shutdown()
