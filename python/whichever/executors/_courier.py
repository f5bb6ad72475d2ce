"""The caller's end of one worker: a socket that never blocks, and what is under way on it."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from whichever.executors._remote.frames import Inbox, frame, reader
from whichever.executors._remote.payload import load

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

_QUICK_SECONDS = 0.002  # batches shorter than this are sent one ahead, so that the worker never waits for one


class LostWorkerError(Exception):
    """The worker's end of the socket is gone.

    Attributes:
        courier: Whose worker it was.
    """

    def __init__(self, courier: Courier) -> None:
        super().__init__()
        self.courier = courier


class Courier:
    """Sends batches to one worker and takes its replies.

    Attributes:
        under_way: The batches of task indexes that were sent, the oldest first.
        letter: The function that the worker has loaded, pickled.
        run: Number of the last run that the worker was told of.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)  # noqa: FBT003 - the only way to call it
        self._socket = sock
        self._inbox = Inbox()
        self._read_into = reader(sock.fileno())
        self._unsent: deque[memoryview] = deque()
        self._quick = False
        self.under_way: deque[list[int]] = deque()
        self.letter: bytes | None = None
        self.run = 0

    def fileno(self) -> int:
        """Return the socket's descriptor, for selectors."""
        return self._socket.fileno()

    @property
    def wants_work(self) -> bool:
        """Whether a further batch may be sent: one at a time, or two when they are quick."""
        return len(self.under_way) < (2 if self._quick else 1)

    @property
    def wants_to_write(self) -> bool:
        """Whether bytes wait for room in the socket."""
        return bool(self._unsent)

    def post(self, blobs: Sequence[bytes]) -> None:
        """Send a frame, as far as the socket takes it now."""
        self._unsent.extend(memoryview(piece) for piece in frame(blobs))
        self.write()

    def write(self) -> None:
        """Send more of what is left."""
        try:
            while self._unsent:
                view = self._unsent[0]
                sent = self._socket.send(view)
                if sent < len(view):
                    self._unsent[0] = view[sent:]
                else:
                    self._unsent.popleft()
        except BlockingIOError:
            return
        except OSError as error:
            raise LostWorkerError(self) from error

    def read(self) -> tuple[list[Any], list[memoryview]] | None:
        """Return the fields and blobs of the next reply; None when it is not complete yet."""
        try:
            meta, *blobs = self._inbox.read(self._read_into)
        except BlockingIOError:
            return None
        except (EOFError, OSError) as error:
            raise LostWorkerError(self) from error
        return load(meta), blobs

    def note_seconds(self, seconds: float) -> None:
        """Remember how long the last batch ran."""
        self._quick = seconds < _QUICK_SECONDS

    def close(self) -> None:
        """Hang up: the worker ends when it next reads."""
        self._socket.close()
