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
_AGAIN = (ssl.SSLWantReadError, ssl.SSLSyscallError)
_FAILED = "Fatal error on SSL protocol"
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
            if self._app_reading_paused or self._app_protocol_is_buffer:
                self._do_read()
            else:
                self._hand_on()
        elif state is _States.DO_HANDSHAKE:
            self._do_handshake()
        elif state is _States.FLUSHING:
            self._do_flush()
        elif state is _States.SHUTDOWN:
            self._do_shutdown()

    def _hand_on(self) -> None:
        """Do what `_do_read` does, but only what there is to do."""
        try:
            self._do_read__copied()
            if self._write_backlog:
                self._do_write()
            elif self._outgoing.pending:
                self._process_outgoing()
            if self._ssl_reading_paused or self._incoming.pending >= self._incoming_high_water:
                self._control_ssl_reading()
        except Exception as error:  # noqa: BLE001 - asyncio's rule: a protocol that raises loses its connection
            self._fatal_error(error, _FAILED)

    def _do_read__copied(self) -> None:
        """Decrypt what has arrived, and hand it on in one piece."""
        incoming, session = self._incoming, self._sslobj
        data = b""
        more: list[bytes] = []
        is_over = False
        # Plain text is never longer than what it was encrypted to.
        most = incoming.pending + session.pending()
        try:
            while most and not is_over:
                chunk = session.read(most)
                is_over = not chunk
                if data:
                    more.append(chunk)
                else:
                    data = chunk
                most = incoming.pending
                if not most:
                    most = session.pending()
        except _AGAIN:
            pass
        if more:
            data = b"".join((data, *more))
        if data:
            self._app_protocol.data_received(data)
        if is_over:
            self._call_eof_received()
            self._start_shutdown()

    def _write_appdata(self, list_of_data: Any) -> None:
        """Encrypt and send; the usual case is one piece, nothing before it, and a peer that reads."""
        is_usual = (
            len(list_of_data) == 1
            and self._state is _States.WRAPPED
            and not self._write_backlog
            and not self._ssl_writing_paused
            and not self._app_writing_paused
            and self._outgoing_high_water
        )
        if not is_usual:
            super()._write_appdata(list_of_data)
            return
        (data,) = list_of_data
        try:
            taken = self._sslobj.write(data)
        except _AGAIN:
            taken = 0
        except Exception as error:  # noqa: BLE001 - asyncio's rule
            self._fatal_error(error, _FAILED)
            return
        if taken < len(data):
            super()._write_appdata((data[taken:],))
            return
        encrypted = self._outgoing.read()
        if encrypted:
            self._transport.write(encrypted)
