"""How a TLS connection ends: everything that was written arrives, both sides say goodbye, and nobody waits for ever.

asyncio goes on to hand over data after `close()`, fails when some arrives while it says goodbye, and drops what it has
not sent yet when the peer was first to. Here, in asyncio's states:

- FLUSHING: what was written leaves. What arrives is dropped if the program has closed the connection; if the peer has
  ended it without a goodbye, the program still gets what came before, as soon as it reads.
- SHUTDOWN: our goodbye leaves, and the peer's is waited for.

Both together last as long as the shutdown's timeout.
"""

from __future__ import annotations

import ssl
import weakref
from asyncio import sslproto
from typing import Any

States = sslproto.SSLProtocolState
AGAIN = (ssl.SSLWantReadError, ssl.SSLSyscallError)
# Its attributes are in no stub.
_Protocol: Any = sslproto.SSLProtocol
_Transport: Any = sslproto._SSLProtocolTransport


class EndingSSLTransport(_Transport):  # type: ignore[misc]
    """asyncio's transport, which can still be aborted when it has been closed twice."""

    _left: weakref.ref[Any] | None = None
    """The protocol that another call of `close` has let go of, so that the two are no cycle."""

    def close(self) -> None:
        """Say goodbye and end the connection. Another call changes nothing."""
        if self._closed and self._ssl_protocol is not None:
            self._left = weakref.ref(self._ssl_protocol)
        super().close()

    def abort(self) -> None:
        """End the connection now, without a goodbye."""
        self._force_close(None)

    def _force_close(self, exc: BaseException | None) -> None:
        protocol = self._left() if self._left is not None else self._ssl_protocol
        self._closed = True
        if protocol is not None:
            protocol._abort(exc)


class EndingProtocol(_Protocol):  # type: ignore[misc]
    """asyncio's protocol with another end."""

    _app_reading_paused: bool
    _app_transport: Any
    _app_transport_created: bool
    _shutdown_timeout_handle: Any

    def _get_app_transport(self) -> Any:
        if self._app_transport is None and not self._app_transport_created:
            self._app_transport = EndingSSLTransport(self._loop, self)
            self._app_transport_created = True
        return super()._get_app_transport()

    def eof_received(self) -> bool | None:
        """Hear that the peer sends no more. True keeps the transport open."""
        stays: bool | None = super().eof_received()
        if self._state in {States.FLUSHING, States.SHUTDOWN} and self._get_write_buffer_size():
            self._bound_the_end()
            return True
        return stays

    def resume_writing(self) -> None:
        """Go on: the transport below takes more."""
        self._ssl_writing_paused = False
        if self._state is States.FLUSHING:
            self._do_flush()
        elif self._state is States.SHUTDOWN:
            self._do_shutdown()
        else:
            self._process_outgoing()

    def _start_shutdown(self) -> None:
        if self._state is States.FLUSHING and self._shutdown_timeout_handle is None:
            # The peer has ended it, the program has not read on, and now never will.
            self._app_transport._closed = True
            self._bound_the_end()
            self._do_flush()
        else:
            super()._start_shutdown()

    def _is_given_up(self) -> bool:
        """Whether nothing is to be read any more: the program has closed it, or the peer has said goodbye."""
        transport = self._app_transport
        return transport is None or transport._closed

    def _do_flush(self) -> None:
        try:
            if self._is_given_up():
                self._drop_what_comes()
            else:
                self._hand_over_the_rest()
            self._do_write()
            self._control_ssl_reading()
        except Exception as error:  # noqa: BLE001 - asyncio's rule: whatever it is, it is the connection's end
            self._on_shutdown_complete(error)
            return
        waits_for_program = self._app_reading_paused and not self._is_given_up()
        if self._state is States.FLUSHING and not self._get_write_buffer_size() and not waits_for_program:
            self._set_state(States.SHUTDOWN)
            self._do_shutdown()

    def _do_shutdown(self) -> None:
        try:
            if not self._eof_received:
                # What the peer has sent before it heard of the end is no error.
                self._drop_what_comes()
                self._sslobj.unwrap()
        except AGAIN:
            self._process_outgoing()
        except Exception as error:  # noqa: BLE001 - as above
            self._on_shutdown_complete(error)
        else:
            self._process_outgoing()
            self._call_eof_received()
            if not self._get_write_buffer_size():
                self._on_shutdown_complete(None)

    def _on_shutdown_complete(self, shutdown_exc: BaseException | None) -> None:
        if shutdown_exc is not None:
            self._fatal_error(shutdown_exc, "Error occurred during shutdown")
        elif self._transport is not None:
            # What the transport below has not sent yet, a peer that does not read can keep there.
            self._bound_the_end()
            self._loop.call_soon(self._transport.close)

    def _bound_the_end(self) -> None:
        if self._shutdown_timeout_handle is None:
            wait = self._ssl_shutdown_timeout
            self._shutdown_timeout_handle = self._loop.call_later(wait, self._check_shutdown_timeout)

    def _abort(self, exc: BaseException | None = None) -> None:
        self._set_state(States.UNWRAPPED)
        if self._transport is not None:
            self._transport._force_close(exc)

    def _drop_what_comes(self) -> None:
        """Read for the peer's goodbye alone."""
        try:
            while self._sslobj.read(self.max_size):
                pass
        except AGAIN:
            return
        except ssl.SSLZeroReturnError:
            pass
        self._call_eof_received()

    def _hand_over_the_rest(self) -> None:
        """Give the program what came before the end, for as long as it reads."""
        left = -1
        while not self._app_reading_paused and self._state is States.FLUSHING:
            before, left = left, self._incoming.pending + self._sslobj.pending()
            if left in {0, before}:
                return
            self._do_read()
