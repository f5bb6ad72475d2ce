"""Stream readers as `asyncio.open_connection` and `start_server` make them, with less work for each message.

Both make an `asyncio.StreamReader` themselves. When a transport of ours gets one that is exactly that, it becomes a
`StreamReader` of ours: the same object with the same attributes, and methods that do the same in fewer steps. Its
transport puts what arrives straight into its buffer. A subclass, a reader with a method of its own, or a CPython
whose reader is not known here stays as it is.
"""

from __future__ import annotations

import asyncio
import operator
import sys
from typing import TYPE_CHECKING, Any

from whichever import _core

if TYPE_CHECKING:
    import weakref

_await_data = _core._await_data
_take = _core._take

_IS_KNOWN = (3, 11) <= sys.version_info < (3, 16)
"""Whether this CPython's readers were looked at: their methods are the same in all of these."""
_BASE = asyncio.StreamReader
_READER_METHODS = (
    "feed_data",
    "_wakeup_waiter",
    "_maybe_resume_transport",
    "_wait_for_data",
    "read",
    "readexactly",
    "readuntil",
    "readline",
)
_PROTOCOL_METHODS = ("data_received",)
_NAMES = frozenset(_READER_METHODS + _PROTOCOL_METHODS)
_methods_of_readers = operator.attrgetter(*_READER_METHODS)
_methods_of_protocols = operator.attrgetter(*_PROTOCOL_METHODS)
_READERS_OWN = _methods_of_readers(_BASE)
_PROTOCOLS_OWN = _methods_of_protocols(asyncio.StreamReaderProtocol)
"""The methods as they were before anybody could replace them. They are compared for each connection, so in one step."""


class StreamReader(asyncio.StreamReader):
    """An `asyncio.StreamReader` that takes fewer steps to read."""

    __slots__ = ()  # Or an asyncio.StreamReader could not become one.

    async def read(self, n: int = -1) -> bytes:
        """Read up to `n` bytes as soon as there are any; all to the end if that is -1."""
        state: Any = self
        if not 0 < n <= sys.maxsize or state._exception is not None:
            return await _BASE.read(self, n)
        if not state._buffer and not state._eof:
            if state._waiter is not None or state._paused:
                await state._wait_for_data("read")
            else:
                # The wait of `_wait_for_data`, without a coroutine of its own: this is what most readers do.
                try:
                    await _await_data(self)
                finally:
                    state._waiter = None
        data = _take(state._buffer, n)
        if state._paused:
            state._maybe_resume_transport()
        return data

    async def readexactly(self, n: int) -> bytes:
        """Read exactly `n` bytes.

        Raises:
            IncompleteReadError: The stream ended before; its `partial` has what there was.
        """
        state: Any = self
        if not 0 < n <= sys.maxsize or state._exception is not None:
            return await _BASE.readexactly(self, n)
        while len(state._buffer) < n:
            if state._eof:
                raise asyncio.IncompleteReadError(_take(state._buffer, n), n)
            await state._wait_for_data("readexactly")
        data = _take(state._buffer, n)
        if state._paused:
            state._maybe_resume_transport()
        return data

    async def readline(self) -> bytes:
        """Read a line with its end; what is left, when the stream ends before.

        Raises:
            ValueError: The line is longer than the limit.
        """
        state: Any = self
        if state._exception is None and not state._paused:
            # A whole line that is there already. All else is asyncio's.
            end = state._buffer.find(b"\n")
            if 0 <= end <= state._limit:
                return _take(state._buffer, end + 1)
        return await _BASE.readline(self)


def adopt(loop: asyncio.AbstractEventLoop, protocol: Any) -> weakref.ref[asyncio.StreamReader] | None:
    """Make the reader of a protocol one of ours, if both are asyncio's own.

    Gives the reader if a transport may feed it without asking the protocol.
    """
    if not _IS_KNOWN or type(protocol) is not asyncio.StreamReaderProtocol:
        return None
    if type(loop).create_future is not asyncio.BaseEventLoop.create_future:
        return None
    found: weakref.ref[Any] | None = getattr(protocol, "_stream_reader_wr", None)
    reader: Any = found() if found is not None else None
    if (
        getattr(reader, "_loop", None) is loop
        and type(reader) is _BASE
        and _methods_of_readers(_BASE) == _READERS_OWN
        and _NAMES.isdisjoint(vars(reader))
    ):
        reader.__class__ = StreamReader
    if (
        type(reader) is StreamReader
        and _methods_of_protocols(asyncio.StreamReaderProtocol) == _PROTOCOLS_OWN
        and _NAMES.isdisjoint(vars(protocol))
    ):
        return found
    return None
