"""Transports of datagram sockets: the rare half of them, and asyncio's rules about errors.

Receiving, sending and their flow are native (`DatagramCore`).
"""

from __future__ import annotations

import asyncio
import socket
import warnings
from asyncio import constants, transports
from asyncio.log import logger
from typing import TYPE_CHECKING, Any

from whichever import _core
from whichever.loop._stream import StreamTransport, _extra, _tell

if TYPE_CHECKING:
    from collections.abc import Callable

    from whichever.loop._event_loop import EventLoop


class _Looks(transports._FlowControlMixin, asyncio.DatagramTransport):
    """What `isinstance` takes a transport of datagrams for: asyncio's are all of these."""


class DatagramTransport(_core.DatagramCore):
    """A transport that passes for an `asyncio.DatagramTransport`.

    It cannot inherit from it: both have a native layout of their own.
    """

    __slots__ = ("__dict__", "__weakref__", "_address", "_extra", "_in_vain", "_sock")

    # What transports have in common.
    get_extra_info = StreamTransport.get_extra_info
    set_write_buffer_limits = StreamTransport.set_write_buffer_limits
    _control_flow = StreamTransport._control_flow
    _fatal_error: Any = StreamTransport._fatal_error
    _protocol = StreamTransport._protocol
    __repr__ = StreamTransport.__repr__

    def __init__(
        self,
        loop: EventLoop,
        sock: socket.socket,
        protocol: asyncio.DatagramProtocol,
        address: Any = None,
        waiter: asyncio.Future[None] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> None:
        self._sock: socket.socket | None = sock
        self._address = address
        self._in_vain = 0
        self._extra: dict[str, Any] = _extra(sock, extra or {})
        loop.call_soon(protocol.connection_made, self, context=self._context)  # type: ignore[arg-type]
        # Receiving begins when connection_made has been called, and only then is anybody told.
        loop.call_soon(self._begin)
        if waiter is not None:
            loop.call_soon(_tell, waiter)

    @property  # type: ignore[misc]
    def __class__(self) -> type[asyncio.DatagramTransport]:  # type: ignore[override]
        return _Looks

    @property
    def _is_over(self) -> bool:
        return self._sock is None

    def __del__(self, _warn: Callable[..., None] = warnings.warn) -> None:
        sock = getattr(self, "_sock", None)
        if sock is not None:
            _warn(f"unclosed transport {self!r}", ResourceWarning, source=self)
            self._forget()
            sock.close()

    def _check_peer(self, address: Any) -> None:
        """Refuse to send to another peer than the one that the endpoint was made for."""
        if self._address and address != self._address:
            msg = f"Invalid address: must be None or {self._address}"
            raise ValueError(msg)

    def _wrote_in_vain(self) -> None:
        """Warn whoever goes on sending after the end."""
        self._in_vain += 1
        if self._in_vain >= constants.LOG_THRESHOLD_FOR_CONNLOST_WRITES:
            logger.warning("socket.send() raised exception.")

    def _resolved(self, address: Any) -> Any:
        """Look a name up, as sending to it does; None when that fails, which the protocol is told of."""
        sock = self._sock
        try:
            if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
                msg = f"{address!r} is no address of this socket"
                raise TypeError(msg)  # noqa: TRY301 - told like the kernel's own refusals
            host, port, *rest = address
            (_, _, _, _, found), *_ = socket.getaddrinfo(host, port, sock.family, socket.SOCK_DGRAM)
        except OSError as error:
            self._tell_error(error)
        except Exception as error:  # noqa: BLE001 - a program's mistake ends the transport, as in asyncio
            self._fatal_error(error, "Fatal write error on datagram transport")
        else:
            return (*found[:2], *rest) if rest else found
        return None

    def _tell_error(self, error: OSError) -> None:
        """Tell the protocol of a datagram that did not go, or of what its peer's host answered."""
        protocol: Any = self.get_protocol()
        if protocol is None:
            return
        try:
            protocol.error_received(error)
        except Exception as failure:  # noqa: BLE001 - a callback's own
            self._callback_failed("error_received", failure)

    def _callback_failed(self, name: str, error: BaseException) -> None:
        """Report what a protocol's callback raised; the transport stays."""
        self._loop.call_exception_handler({
            "message": f"Exception in callback protocol.{name}()",
            "exception": error,
            "transport": self,
            "protocol": self.get_protocol(),
        })  # fmt: skip

    def _call_connection_lost(self, error: BaseException | None) -> None:
        """Tell the protocol that it is over, and close the socket."""
        protocol: Any = self.get_protocol()
        try:
            if protocol is not None:
                protocol.connection_lost(error)
        finally:
            self._forget()
            sock, self._sock = self._sock, None
            if sock is not None:
                sock.close()
