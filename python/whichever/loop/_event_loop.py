"""The event loop: asyncio's own with a native core.

What runs often (callbacks, timers, descriptors, turns) is native and comes first in the order of methods; what is rare,
or full of policy, is inherited from the standard library, so that it behaves as asyncio does in every version.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import socket
import sys
from asyncio import base_events, format_helpers
from asyncio.base_events import _check_ssl_socket, _format_handle  # type: ignore[attr-defined]
from typing import TYPE_CHECKING, Any, TypeVar

from whichever import _core
from whichever.loop._datagram import DatagramTransport
from whichever.loop._handles import describe_call
from whichever.loop._lent import LentSockets
from whichever.loop._selector import WatchedDescriptors
from whichever.loop._slow import SlowCallbacks, in_words
from whichever.loop._stream import StreamTransport
from whichever.loop._tls import TlsProtocol, start_tls

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Coroutine
    from concurrent.futures import Executor

    from whichever._types import LoopStatistics

_T = TypeVar("_T")
_TASKS_MAY_BE_EAGER = sys.version_info >= (3, 12)
_SOCKET = socket.socket
_CONNECTING = frozenset({"getaddrinfo", "sock_connect", "_make_socket_transport"})
_DATAGRAM_FAMILIES = (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)
"""Whose addresses are known natively; the others' datagrams go as in asyncio."""


class EventLoop(_core.LoopCore, asyncio.SelectorEventLoop):
    """An asyncio event loop, for `asyncio.run(main(), loop_factory=whichever.EventLoop)`.

    Args:
        without_epoll: Look at descriptors with poll(2). If in doubt, leave it: it is for systems that forbid epoll.
    """

    def __init__(self, *, without_epoll: bool = False) -> None:
        del without_epoll  # The core's.
        self._lent = LentSockets()
        self._slow = SlowCallbacks()
        super().__init__(WatchedDescriptors(self))

    def statistics(self) -> LoopStatistics:
        """Say what the loop has done so far; any thread may ask, also when the loop is closed."""
        from whichever._types import LoopStatistics  # noqa: PLC0415 - see `_slow`

        return LoopStatistics(**self._figures(), slow=self._slow.costliest())

    def close(self) -> None:
        """Close the loop. It must not be running."""
        was_closed = self.is_closed()
        super().close()
        if not was_closed:
            self._close_core()
            self._lent.give_all_back()

    def _make_socket_transport(
        self,
        sock: socket.socket,
        protocol: asyncio.BaseProtocol,
        waiter: asyncio.Future[None] | None = None,
        *,
        extra: dict[str, Any] | None = None,
        server: Any = None,
        context: Any = None,
    ) -> StreamTransport:
        self._ensure_fd_no_transport(sock)
        return StreamTransport(self, sock, protocol, waiter, extra, server, context=context)

    def _accept_connection(
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        sock: socket.socket,
        sslcontext: ssl.SSLContext | None = None,
        server: Any = None,
        *options: Any,
    ) -> None:
        """Make transports of those who connect; under TLS, while debugging, and when that fails, as asyncio does."""
        base: Any = super()
        accepted: list[_core.BareSocket] | None = None
        if sslcontext is None and not self._debug and type(sock) is socket.socket:
            # What fails will fail again, and asyncio knows what to do about it.
            with contextlib.suppress(OSError):
                accepted = self._accept(sock.fileno())
        if accepted is None:
            base._accept_connection(protocol_factory, sock, sslcontext, server, *options)
        else:
            for bare in accepted:
                self._take_in(bare, protocol_factory, server)

    def _take_in(
        self, bare: _core.BareSocket, protocol_factory: Callable[[], asyncio.BaseProtocol], server: Any
    ) -> None:
        """Make a transport of a connection that was accepted."""
        context = contextvars.copy_context()
        try:
            protocol = context.run(protocol_factory)
            StreamTransport(self, bare, protocol, server=server, context=context)
        except (SystemExit, KeyboardInterrupt):
            bare.close()
            raise
        except BaseException:  # noqa: BLE001  # asyncio tells of it only while debugging, as is done elsewhere
            bare.close()

    def _connects_as_made(self) -> bool:
        """Whether nobody has put something of his own where asyncio makes connections: a subclass, a guard, a test."""
        return (
            type(self) is EventLoop
            and vars(base_events)["socket"] is socket
            and socket.socket is _SOCKET
            and _CONNECTING.isdisjoint(vars(self))
        )

    async def create_connection(
        self,
        protocol_factory: Callable[[], Any],
        host: Any = None,
        port: Any = None,
        **options: Any,
    ) -> tuple[asyncio.Transport, Any]:
        """Connect to a TCP server, as asyncio does; in fewer steps to one of this machine."""
        is_plain = not options and not self._debug and self._connects_as_made()
        bare = self._connect_here(host, port) if is_plain else None
        if bare is None:
            return await super().create_connection(protocol_factory, host, port, **options)
        protocol = protocol_factory()
        waiter = self.create_future()
        transport: Any = StreamTransport(self, bare, protocol, waiter)
        try:
            await waiter
        except BaseException:
            transport.close()
            raise
        return transport, protocol

    def _make_ssl_transport(  # noqa: PLR0913  # asyncio's signature
        self,
        rawsock: socket.socket,
        protocol: asyncio.BaseProtocol,
        sslcontext: ssl.SSLContext,
        waiter: asyncio.Future[None] | None = None,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        extra: dict[str, Any] | None = None,
        server: Any = None,
        context: Any = None,
        **timeouts: float | None,
    ) -> asyncio.Transport:
        self._ensure_fd_no_transport(rawsock)
        tls = TlsProtocol(self, protocol, sslcontext, waiter, server_side, server_hostname, **timeouts)
        StreamTransport(self, rawsock, tls, extra=extra, server=server, context=context)
        return tls._app_transport  # type: ignore[no-any-return]

    async def start_tls(  # noqa: PLR0913  # asyncio's signature
        self,
        transport: asyncio.BaseTransport,
        protocol: asyncio.BaseProtocol,
        sslcontext: ssl.SSLContext,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> asyncio.Transport:
        """Make an open connection a secure one; the protocol goes on with the transport that this gives."""
        return await start_tls(
            self, transport, protocol, sslcontext,
            server_side=server_side, server_hostname=server_hostname,
            ssl_handshake_timeout=ssl_handshake_timeout, ssl_shutdown_timeout=ssl_shutdown_timeout,
        )  # fmt: skip

    @property
    def _child_watcher_callback(self) -> Callable[..., None]:
        """What is called when a child has ended; asked for where it is started, whose context it keeps."""
        base: Any = super()
        return functools.partial(contextvars.copy_context().run, base._child_watcher_callback)

    def _make_datagram_transport(
        self,
        sock: socket.socket,
        protocol: asyncio.DatagramProtocol,
        address: Any = None,
        waiter: asyncio.Future[None] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> asyncio.DatagramTransport:
        self._ensure_fd_no_transport(sock)
        if sock.family not in _DATAGRAM_FAMILIES:
            base: Any = super()
            return base._make_datagram_transport(sock, protocol, address, waiter, extra)  # type: ignore[no-any-return]
        return DatagramTransport(self, sock, protocol, address, waiter, extra)  # type: ignore[return-value]

    def _ensure_fd_no_transport(self, fd: Any) -> None:
        """Refuse to watch what a transport watches."""
        if self._belongs_to_stream(fd):
            msg = f"File descriptor {fd!r} is used by transport <StreamTransport fd={fd}>"
            raise RuntimeError(msg)
        base: Any = super()
        base._ensure_fd_no_transport(fd)

    async def sock_recv(self, sock: socket.socket, nbytes: int) -> bytes:
        """Receive up to so many bytes from a socket that does not block."""
        if type(sock) is not socket.socket or self._debug:
            _check_socket(sock, debug=self._debug)
        is_done, result = self._sock_receive(sock, nbytes)
        return result if is_done else await self._sock_result(sock, result)  # type: ignore[no-any-return]

    async def sock_recv_into(self, sock: socket.socket, buf: Any) -> int:
        """Receive into a buffer; gives how many bytes have come."""
        if type(sock) is not socket.socket or self._debug:
            _check_socket(sock, debug=self._debug)
        is_done, result = self._sock_fill(sock, buf)
        return result if is_done else await self._sock_result(sock, result)  # type: ignore[no-any-return]

    async def sock_sendall(self, sock: socket.socket, data: Any) -> None:
        """Send all of some bytes."""
        if type(sock) is not socket.socket or self._debug:
            _check_socket(sock, debug=self._debug)
        is_done, result = self._sock_send(sock, data)
        if not is_done:
            await self._sock_result(sock, result)

    async def _sock_result(self, sock: socket.socket, future: asyncio.Future[Any]) -> Any:
        """Wait for what a socket brings; nobody waits for it any more if the task is cancelled."""
        self._lent.lend(sock)
        try:
            return await future
        except asyncio.CancelledError:
            self._sock_forget(sock, future)
            raise
        finally:
            self._lent.give_back(sock)

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        """Connect a socket that does not block."""
        self._lent.lend(sock)
        try:
            await super().sock_connect(sock, address)
        finally:
            self._lent.give_back(sock)

    async def _sendfile_native(
        self, transp: StreamTransport, file: Any, offset: int, count: int | None
    ) -> int:
        """Send a file over a transport's socket, without the transport."""
        fd = transp._sock_fd
        resumes = transp.is_reading()
        transp.pause_reading()
        await transp._make_empty_waiter()
        self._share_stream(fd, shared=True)
        try:
            return await self.sock_sendfile(transp._sock, file, offset, count, fallback=False)  # type: ignore[arg-type]
        finally:
            self._share_stream(fd, shared=False)
            transp._reset_empty_waiter()
            if resumes:
                transp.resume_reading()

    if sys.version_info < (3, 13, 3):

        def create_task(
            self, coro: Any, *, eager_start: bool | None = None, **options: Any
        ) -> asyncio.Task[Any]:
            """Make a task of a coroutine; with `eager_start` it runs at once, up to where it first waits."""
            if not eager_start or not _TASKS_MAY_BE_EAGER or self.get_task_factory() is not None:
                return super().create_task(coro, **options)
            base: Any = self
            base._check_closed()
            return asyncio.Task(coro, loop=self, eager_start=True, **options)  # type: ignore[call-arg]

    def run_in_executor(  # type: ignore[override]  # the types of arguments are the function's
        self, executor: Executor | None, func: Callable[..., _T], *args: Any
    ) -> asyncio.Future[_T]:
        """Run a function in a thread: one of a `ThreadPool`'s, unless another executor is given or set."""
        base: Any = super()
        own: Any = self
        if executor is None and own._default_executor is None and not self.is_closed():
            own._check_default_executor()
            own._default_executor = _thread_pool()
        return base.run_in_executor(executor, func, *args)  # type: ignore[no-any-return]

    def _examine(self, callback: Callable[..., object], method: str) -> Any:
        """Check what debugging checks before a callback is taken; give the stack of whoever hands it in."""
        base: Any = super()
        if method != "call_soon_threadsafe":
            base._check_thread()
        base._check_callback(callback, method)
        return format_helpers.extract_stack(sys._getframe(1))

    def _callback_failed(self, handle: _core.Handle, exception: BaseException) -> None:
        """Report an exception that a callback raised."""
        context: dict[str, Any] = {
            "message": f"Exception in callback {describe_call(handle)}",
            "exception": exception,
            "handle": handle,
        }
        if handle._source_traceback:
            context["source_traceback"] = handle._source_traceback
        self.call_exception_handler(context)

    def _callback_was_slow(self, handle: _core.Handle, seconds: float) -> None:
        """Report, while debugging, a callback that kept all others waiting."""
        # asyncio's own logger, by the name under which tests replace it.
        logger = base_events.logger  # type: ignore[attr-defined]
        logger.warning("Executing %s took %.3f seconds", _format_handle(handle), seconds)

    def _callback_blocked(
        self, callback: Any, sight: tuple[str, str] | None, seconds: float, doing: Any
    ) -> None:
        """Note a callback that kept the loop from going on, and warn of it once."""
        slow = self._slow.note(callback, sight, seconds, doing)
        # While debugging, callbacks of handles are timed, and told of, anyway.
        if slow is not None and not (self._debug and callback is not None):
            base_events.logger.warning("%s", in_words(slow))  # type: ignore[attr-defined]


def _thread_pool() -> Executor:
    """Make the executor of those who set none."""
    # The one arrow up, and only when somebody wants threads: the pool is the room's above.
    from whichever.executors import ThreadPool  # noqa: PLC0415

    return ThreadPool(thread_name_prefix="asyncio")


def _check_socket(sock: socket.socket, *, debug: bool) -> None:
    """Refuse what asyncio refuses."""
    _check_ssl_socket(sock)
    if debug and sock.gettimeout() != 0:
        msg = "the socket must be non-blocking"
        raise ValueError(msg)


def new_event_loop() -> EventLoop:
    """Make an event loop."""
    return EventLoop()


def run(main: Coroutine[Any, Any, _T], *, debug: bool | None = None) -> _T:
    """Run a coroutine to its end in an event loop of its own, as `asyncio.run` does.

    Args:
        main: What to run.
        debug: asyncio's debug mode; None leaves it to `PYTHONASYNCIODEBUG`.

    Raises:
        RuntimeError: When a loop runs in this thread already: await the coroutine instead.
    """
    if asyncio._get_running_loop() is not None:
        main.close()
        msg = "whichever.run() cannot be called from a running event loop: await the coroutine instead"
        raise RuntimeError(msg)
    with asyncio.Runner(debug=debug, loop_factory=EventLoop) as runner:
        return runner.run(main)
