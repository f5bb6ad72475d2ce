"""Transports of connected stream sockets: the rare half of them, and asyncio's rules about errors.

Reading, writing and their flow are native (`StreamCore`).
"""

from __future__ import annotations

import asyncio
import socket
import sys
import warnings
from asyncio import constants
from asyncio.log import logger
from asyncio.transports import _FlowControlMixin
from asyncio.trsock import TransportSocket
from typing import TYPE_CHECKING, Any

from whichever import _core
from whichever.loop._reader import StreamReader, adopt

if TYPE_CHECKING:
    from collections.abc import Callable

    from whichever.loop._event_loop import EventLoop

_SERVER_KNOWS_TRANSPORTS = sys.version_info >= (3, 13)
_ASKED = frozenset({"socket", "sockname", "peername"})
"""What a socket is asked when somebody wants to know it."""


class _Face(_FlowControlMixin, asyncio.Transport):
    """What transports pass for."""


class StreamTransport(_core.StreamCore):
    """A transport that passes for an `asyncio.Transport`.

    It cannot inherit from it: both have a native layout of their own.
    """

    __slots__ = ("__dict__", "__weakref__", "_extra", "_server", "_socket")

    _start_tls_compatible = True
    _sendfile_compatible = constants._SendfileMode.TRY_NATIVE

    def __init__(  # noqa: PLR0913, PLR0917  # asyncio's signature
        self,
        loop: EventLoop,
        sock: socket.socket | _core.BareSocket,
        protocol: asyncio.BaseProtocol,
        waiter: asyncio.Future[None] | None = None,
        extra: dict[str, Any] | None = None,
        server: Any = None,
        context: Any = None,  # The core's.
    ) -> None:
        self._socket = sock
        self._server = server
        # What is asked of a bare socket, it can still say when it is closed.
        self._extra = None if type(sock) is _core.BareSocket else _extra(sock, extra or {})
        if is_buffered(protocol):
            self._set_protocol(protocol, buffered=True)
        self._feed_reader_of(protocol)
        if server is not None:
            server._attach(*self._as_known_to_server())
        if type(sock) is not _core.BareSocket:
            _send_at_once(sock)
        self._begin_soon(protocol)
        # Reading begins when connection_made has been called, and only then is anybody told.
        if waiter is not None:
            loop.call_soon(_tell, waiter, context=context)

    @property  # type: ignore[misc]
    def __class__(self) -> type[asyncio.Transport]:  # type: ignore[override]
        return _Face

    def __repr__(self) -> str:
        parts = [type(self).__name__]
        if self._is_over:
            parts.append("closed")
        elif self.is_closing():
            parts.append("closing")
        parts.append(f"fd={self._sock_fd}")
        if not self._is_over and not self._loop.is_closed():
            reads, writes = self._watched()
            parts.append(f"read={'polling' if reads else 'idle'}")
            size = self.get_write_buffer_size()
            parts.append(f"write=<{'polling' if writes else 'idle'}, bufsize={size}>")
        return f"<{' '.join(parts)}>"

    def __del__(self, _warn: Callable[..., None] = warnings.warn) -> None:
        sock = getattr(self, "_socket", None)
        if sock is not None and not self._is_over:
            _warn(f"unclosed transport {self!r}", ResourceWarning, source=self)
            self._forget()
            sock.close()
            self._leave_server()

    @property
    def _sock(self) -> socket.socket | None:
        """The socket, as an object of Python's from now on; None once it is closed."""
        if self._is_over:
            return None
        if type(self._socket) is _core.BareSocket:
            self._extra = self._known()
            self._socket = self._socket.as_socket()
        return self._socket

    def _known(self) -> dict[str, Any]:
        """Give what is known of the connection; its socket only if there is an object of Python's."""
        if self._extra is None:
            bare = self._socket
            self._extra = {"sockname": _ask(bare.getsockname), "peername": _ask(bare.getpeername)}
        return self._extra

    @property
    def _protocol(self) -> asyncio.BaseProtocol | None:
        return self.get_protocol()

    @property
    def _closing(self) -> bool:
        """What asyncio's transports call it; programs have read it there."""
        return self.is_closing()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Let another protocol have what arrives."""
        self._set_protocol(protocol, buffered=is_buffered(protocol))
        self._feed_reader_of(protocol)

    def _feed_reader_of(self, protocol: asyncio.BaseProtocol) -> None:
        reader = adopt(self._loop, protocol)
        if reader is not None:
            self._feed(reader, StreamReader)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Say what is known of the connection: `socket`, `sockname`, `peername`."""
        extra = self._extra
        if name in _ASKED and (extra is None or name not in extra):
            extra = self._known()
            if name == "socket":
                sock = self._sock
                extra[name] = None if sock is None else TransportSocket(sock)
        return default if extra is None else extra.get(name, default)

    def can_write_eof(self) -> bool:
        """Whether `write_eof` may be called: always."""
        return True

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set how many bytes wait before the protocol is asked to pause, and to go on."""
        if high is None:
            high = 64 * 1024 if low is None else 4 * low
        if low is None:
            low = high // 4
        if not high >= low >= 0:
            msg = f"high ({high!r}) must be >= low ({low!r}) must be >= 0"
            raise ValueError(msg)
        self._set_limits(low, high)

    def _control_flow(self, name: str) -> None:
        """Ask the protocol to pause or to go on."""
        protocol = self.get_protocol()
        try:
            getattr(protocol, name)()
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:  # noqa: BLE001
            self._loop.call_exception_handler(
                {
                    "message": f"protocol.{name}() failed",
                    "exception": exc,
                    "transport": self,
                    "protocol": protocol,
                }
            )

    def _wrote_in_vain(self, times: int) -> None:
        """Warn whoever goes on writing to a peer that has gone."""
        if times >= constants.LOG_THRESHOLD_FOR_CONNLOST_WRITES:
            logger.warning("socket.send() raised exception.")

    def _fatal_error(self, exc: BaseException, message: str = "Fatal error on transport") -> None:
        """Report what ends the connection, unless it is what connections usually end with."""
        if isinstance(exc, OSError):
            if self._loop.get_debug():
                logger.debug("%r: %s", self, message, exc_info=exc)
        else:
            self._loop.call_exception_handler(
                {
                    "message": message,
                    "exception": exc,
                    "transport": self,
                    "protocol": self.get_protocol(),
                }
            )
        self._force_close(exc)

    def _shut_down_writing(self) -> None:
        if not self._is_over:
            self._socket.shutdown(socket.SHUT_WR)

    def _call_connection_lost(self, exc: BaseException | None) -> None:
        """Tell the protocol that it is over, and close the socket."""
        protocol = self.get_protocol()
        try:
            if protocol is not None:
                protocol.connection_lost(exc)  # type: ignore[arg-type]
        finally:
            if not self._is_over:
                self._forget()
                self._socket.close()
            self._leave_server()
            waiter = self._empty_waiter
            if waiter is not None and not waiter.done():
                waiter.set_exception(ConnectionError("Connection is closed by peer"))

    def _as_known_to_server(self) -> tuple[StreamTransport, ...]:
        return (self,) if _SERVER_KNOWS_TRANSPORTS else ()

    def _leave_server(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server._detach(*self._as_known_to_server())

    def _make_empty_waiter(self) -> asyncio.Future[None]:
        """Forbid writing, and give what tells when all has been sent."""
        if self._empty_waiter is not None:
            msg = "Empty waiter is already set"
            raise RuntimeError(msg)
        waiter: asyncio.Future[None] = self._loop.create_future()
        is_empty = not self.get_write_buffer_size()
        self._empty_waiter = waiter
        if is_empty:
            waiter.set_result(None)
        return waiter

    def _reset_empty_waiter(self) -> None:
        self._empty_waiter = None

    def _now_empty(self, waiter: asyncio.Future[None]) -> None:
        if not waiter.done():
            waiter.set_result(None)


def is_buffered(protocol: asyncio.BaseProtocol) -> bool:
    """Whether a protocol gives its own buffers; its methods tell, where its class does not."""
    if getattr(protocol, "takes_bytes", False):
        return False
    if isinstance(protocol, asyncio.Protocol | asyncio.BufferedProtocol):
        return isinstance(protocol, asyncio.BufferedProtocol)
    return hasattr(protocol, "get_buffer")


def _tell(waiter: asyncio.Future[None]) -> None:
    if not waiter.cancelled():
        waiter.set_result(None)


def _send_at_once(sock: socket.socket) -> None:
    if sock.family != socket.AF_UNIX and sock.proto in {0, socket.IPPROTO_TCP}:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _extra(sock: socket.socket, known: dict[str, Any]) -> dict[str, Any]:
    """Find out what `get_extra_info` will say, while the socket can still be asked."""
    known["socket"] = TransportSocket(sock)
    known["sockname"] = _ask(sock.getsockname)
    if "peername" not in known:
        known["peername"] = _ask(sock.getpeername)
    return known


def _ask(question: Callable[[], Any]) -> Any:
    try:
        return question()
    except OSError:
        return None
