"""The one message that a worker of a process pool gets on its socket: its configuration, with its descriptors.

A header (length of what follows, and whether that stands in a file), the pickled dict, and the descriptors as
ancillary data. Afterwards nothing is written to the socket by either side: it is the worker's sign of life only.
"""

from __future__ import annotations

import os
import pickle
import select
import socket
import struct
import tempfile
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

_HEAD = struct.Struct("<Q?")
_MAX_FDS = 16
_INLINE_BYTES = 32 * 1024  # fits into an empty socket's buffer at once: sending never waits for the worker


def file_in_memory(name: str) -> int:
    """Open an empty file that other processes may share; on a disk where there is no other.

    Not one of `tempfile` if it can be helped: in a child forked while another thread asked for the first of these,
    who asks there waits for ever.
    """
    try:
        return os.memfd_create(name)
    except (AttributeError, OSError):
        with tempfile.TemporaryFile(buffering=0) as file:
            return os.dup(file.fileno())


def send_configuration(sock: socket.socket, configuration: dict[str, Any], fds: Sequence[int]) -> None:
    """Send it all without waiting for the worker, which need not have started yet.

    Raises:
        OSError: The worker is gone (or its socket cannot take the message).
    """
    blob = pickle.dumps(configuration, 5)
    sock.setblocking(False)  # noqa: FBT003 - the only way to call it
    if len(blob) <= _INLINE_BYTES:
        _send(sock, _HEAD.pack(len(blob), False) + blob, fds)  # noqa: FBT003 - a field of the header
        return
    with open(file_in_memory("whichever-configuration"), "wb") as file:
        file.write(blob)
        file.flush()
        _send(sock, _HEAD.pack(len(blob), True), [*fds, file.fileno()])  # noqa: FBT003 - as above


def receive_configuration(
    sock: socket.socket, idle_seconds: float | None = None
) -> tuple[dict[str, Any], list[int]] | None:
    """Return the configuration and the descriptors.

    Args:
        sock: The worker's socket.
        idle_seconds: How long to wait for it to begin; if in doubt, leave it: for ever.

    Returns:
        None when none came, or none will come any more.
    """
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    if not poll.poll(None if idle_seconds is None else idle_seconds * 1000):
        # From here on the sender is refused; what it sent before that is still ours.
        sock.shutdown(socket.SHUT_RD)
    head, fds, _, _ = socket.recv_fds(sock, _HEAD.size, _MAX_FDS, socket.MSG_CMSG_CLOEXEC)
    if len(head) < _HEAD.size:
        return None
    size, in_file = _HEAD.unpack(head)
    if in_file:
        with os.fdopen(fds.pop(), "rb") as file:
            file.seek(0)
            blob = file.read()
    else:
        blob = sock.recv(size, socket.MSG_WAITALL) if size else b""
    return (pickle.loads(blob), list(fds)) if len(blob) == size else None  # noqa: S301 - the caller is this program


def _send(sock: socket.socket, message: bytes, fds: Sequence[int]) -> None:
    if socket.send_fds(sock, [message], list(fds)) < len(message):
        msg = "the worker's socket has no room for its configuration"
        raise OSError(msg)


def stay_alive_with(sock: socket.socket) -> None:
    """Have the kernel kill this process as soon as the other end of `sock` is closed, by whatever end.

    It takes no thread, and works while a task holds the interpreter. Nothing may be written to `sock` any more,
    by either side: that would be a signal too.
    """
    import fcntl  # noqa: PLC0415 - with signal below: the caller's side does without
    import signal  # noqa: PLC0415

    if not hasattr(fcntl, "F_SETSIG"):  # not Linux: the worker ends when its core finds the caller gone
        return
    fcntl.fcntl(sock, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(sock, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(sock, fcntl.F_SETFL, fcntl.fcntl(sock, fcntl.F_GETFL) | os.O_ASYNC)
    poll = select.poll()
    poll.register(sock, 0)  # the hang-up alone: our own end may have been shut for reading
    if poll.poll(0):  # it was closed before the kernel had its orders
        os.kill(os.getpid(), signal.SIGKILL)
