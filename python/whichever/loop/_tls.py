"""TLS on our transports: asyncio's own protocol, with a shorter way for bytes that arrive, and an orderly end.

Contexts, handshakes and flow are asyncio's, so that every setting of `ssl.SSLContext` holds. But asyncio reads 256 KiB
from OpenSSL each time, which is memory from the kernel and back to it, and goes on until an exception says that there
is no more. Here a read asks for no more than can have come, and ends when nothing is left. Whatever the protocol is
told, it is told in the context of its connection, whoever caused it. How a connection ends: `_tls_end`.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Any

from whichever.loop._stream import StreamTransport, is_buffered
from whichever.loop._tls_end import AGAIN, EndingProtocol, States

if TYPE_CHECKING:
    import contextvars
    from collections.abc import Callable

    from whichever.loop._event_loop import EventLoop

_FAILED = "Fatal error on SSL protocol"


class TlsProtocol(EndingProtocol):
    """What stands between a transport and a program's protocol."""

    max_size = 16 * 1024
    """What asyncio reads at once, for those who fill this protocol's own buffer."""
    takes_bytes = True
    """It has a buffer, too, but bytes of their size are less work."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self._bottom: StreamTransport | None = None
        self._is_waking = False
        super().__init__(*args, **options)

    def connection_made(self, transport: Any) -> None:
        """Begin the handshake."""
        # TLS inside of TLS has the context of the outer connection.
        below = getattr(transport, "_ssl_protocol", None)
        bottom = getattr(below, "_bottom", None) if below is not None else transport
        self._bottom = bottom if isinstance(bottom, StreamTransport) else None
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Tell the program that it is over."""
        super().connection_lost(exc)
        self._bottom = None

    def _set_app_protocol(self, app_protocol: Any) -> None:
        self._app_protocol = app_protocol
        self._app_protocol_is_buffer = is_buffered(app_protocol)
        if self._app_protocol_is_buffer:
            self._app_protocol_get_buffer = app_protocol.get_buffer
            self._app_protocol_buffer_updated = app_protocol.buffer_updated

    def _on_handshake_complete(self, handshake_exc: BaseException | None) -> None:
        # Who waits for the handshake runs before the first data: only then does it know the new transport.
        self._is_waking = True
        try:
            super()._on_handshake_complete(handshake_exc)
        finally:
            self._is_waking = False
            # Its traceback has the frame above, and that has this one: a cycle that would keep the transport.
            handshake_exc = None
        if self._state is States.WRAPPED:
            self._loop.call_soon(self._do_read, context=self._context())

    def data_received(self, data: bytes) -> None:
        """Take what has arrived, as `buffer_updated` does."""
        self._incoming.write(data)
        state = self._state
        if state is States.WRAPPED:
            if self._app_reading_paused or self._app_protocol_is_buffer:
                self._do_read()
            else:
                self._hand_on()
        elif state is States.DO_HANDSHAKE:
            self._do_handshake()
        elif state is States.FLUSHING:
            self._do_flush()
        elif state is States.SHUTDOWN:
            self._do_shutdown()

    def _do_read(self) -> None:
        if self._is_waking:
            self._process_outgoing()
        elif self._state is States.WRAPPED or not self._is_given_up():
            super()._do_read()

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
        except AGAIN:
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
            and self._state is States.WRAPPED
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
        except AGAIN:
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

    def _resume_reading(self) -> None:
        if self._app_reading_paused:
            self._app_reading_paused = False
            self._loop.call_soon(self._go_on_reading, context=self._context())

    def _go_on_reading(self) -> None:
        if self._state is States.WRAPPED:
            self._do_read()
        elif self._state is States.FLUSHING:
            self._do_flush()
        elif self._state is States.SHUTDOWN:
            self._do_shutdown()

    def _control_app_writing(self) -> None:
        size = self._get_write_buffer_size()
        if self._app_writing_paused:
            if size <= self._outgoing_low_water:
                self._tell(super()._control_app_writing)
        elif size >= self._outgoing_high_water:
            self._tell(super()._control_app_writing)

    def _call_eof_received(self) -> None:
        self._tell(super()._call_eof_received)

    def _context(self) -> contextvars.Context | None:
        return None if self._bottom is None else self._bottom._context

    def _tell(self, call: Callable[[], Any]) -> None:
        """Do what may call the program's protocol."""
        if self._bottom is None:
            call()
        else:
            self._bottom._in_context(call)


async def start_tls(  # asyncio's options
    loop: EventLoop,
    transport: Any,
    protocol: asyncio.BaseProtocol,
    sslcontext: ssl.SSLContext,
    *,
    server_side: bool,
    server_hostname: str | None,
    **timeouts: float | None,
) -> asyncio.Transport:
    """Put TLS between a transport and its protocol; give the protocol's new transport."""
    if not isinstance(sslcontext, ssl.SSLContext):
        msg = f"sslcontext is expected to be an instance of ssl.SSLContext, got {sslcontext!r}"
        raise TypeError(msg)
    if not getattr(transport, "_start_tls_compatible", False):
        msg = f"transport {transport!r} is not supported by start_tls()"
        raise TypeError(msg)
    waiter: asyncio.Future[None] | None = loop.create_future()
    tls = TlsProtocol(
        loop, protocol, sslcontext, waiter, server_side, server_hostname,
        call_connection_made=False, **timeouts,
    )  # fmt: skip
    # Nothing may come before its `connection_made`.
    transport.pause_reading()
    if server_side:
        _take_back(protocol, tls)
    transport.set_protocol(tls)
    begin = loop.call_soon(tls.connection_made, transport)
    resume = loop.call_soon(transport.resume_reading)
    try:
        await waiter  # type: ignore[misc]
    except BaseException:
        transport.close()
        begin.cancel()
        resume.cancel()
        waiter = None  # Its exception has this frame.
        raise
    return tls._app_transport  # type: ignore[no-any-return]


def _take_back(protocol: asyncio.BaseProtocol, tls: TlsProtocol) -> None:
    """Take what a stream has read already, if it is the beginning of the handshake."""
    reader: Any = getattr(protocol, "_stream_reader", None)
    if isinstance(protocol, asyncio.StreamReaderProtocol) and reader is not None and reader._buffer:
        tls._incoming.write(reader._buffer)
        reader._buffer.clear()
