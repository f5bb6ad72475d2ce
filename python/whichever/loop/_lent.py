"""Sockets that tasks wait for, which stay open until they no longer do.

If a program closes a socket that a task waits for, its number may soon belong to another connection, and the task would
get what is meant for that one. So closing takes effect when the last task has stopped waiting, as it does for
files that `socket.makefile` has made.
"""

from __future__ import annotations

import socket
from collections import Counter
from typing import Any


class LentSockets:
    """Counts who waits for which socket."""

    def __init__(self) -> None:
        self._lent: Counter[Any] = Counter()

    def lend(self, sock: socket.socket) -> None:
        """Keep a socket open; what only looks like one is left alone."""
        if not isinstance(sock, socket.socket):
            return
        self._lent[sock] += 1
        sock._io_refs += 1  # type: ignore[attr-defined]

    def give_back(self, sock: Any) -> None:
        """Let a socket be closed, which it is now if that was asked for meanwhile."""
        count = self._lent[sock] - 1
        if count < 0:
            # The loop was closed first.
            del self._lent[sock]
            return
        if count:
            self._lent[sock] = count
        else:
            del self._lent[sock]
        sock._decref_socketios()

    def give_all_back(self) -> None:
        """Let all sockets be closed."""
        for sock in list(self._lent.elements()):
            self.give_back(sock)
