"""One hired worker as tests see it, with fake_core's socket in place of the rings."""

import os
import pickle
import select
import socket
import tempfile
import time

import fake_core

from whichever.executors import _crew
from whichever.executors._remote import cargo

SECONDS = 20


class Hand:
    """Hires a worker and gives it tasks.

    `said` lists what it has sent beside results: ``("say", stream, text)``, ``("log", blob)``, ``("failed", blob)``.
    """

    def __init__(self, crew, *, name="whichever-1", configuration=(), inner_threads=1, **order):
        self._link, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._link.settimeout(SECONDS)
        self._page = tempfile.TemporaryFile(buffering=0)
        page = self._page.fileno()
        self.said = []
        with theirs:
            fds = (theirs.fileno(), page, page, page)
            self.hired = crew.hire(
                _crew.Order(fds, {"name": name, **dict(configuration)}, inner_threads, **order)
            )

    def begin(self, fn, *args, context=b"", **kwargs):
        """Send a task."""
        blob, buffers = cargo.dump_call(fn, args, kwargs)
        assert not buffers
        self._link.send(pickle.dumps(("run", context, blob)))

    def next_message(self):
        """Return what it sends next; None if it has gone."""
        message = self._link.recv(fake_core.MESSAGE_BYTES)
        return pickle.loads(message) if message else None

    def result(self):
        """Return the task's result or raise what it raised."""
        while (message := self.next_message())[0] not in ("result", "error"):
            self.said.append(message)
        if message[0] == "error":
            raise cargo.load_error(message[1])
        return cargo.load_result(message[1])

    def ask(self, fn, *args, **more):
        self.begin(fn, *args, **more)
        return self.result()

    def allow_interrupt(self):
        """Have the worker find that the caller means the task that runs."""
        os.pwrite(self._page.fileno(), b"1", 0)

    def stop(self):
        self._link.send(pickle.dumps(("stop",)))

    def is_gone(self):
        """Say whether the worker (and whoever holds its link) has ended, within a bound."""
        poll = select.poll()
        poll.register(self._link, select.POLLIN)
        end = time.monotonic() + SECONDS
        while time.monotonic() < end and poll.poll(max(end - time.monotonic(), 0) * 1000):
            if (message := self.next_message()) is None:
                return True
            self.said.append(message)
        return False

    def printed(self, stream=1):
        return "".join(
            text for kind, *rest in self.said if kind == "say" for to, text in [rest] if to == stream
        )

    def close(self):
        self.hired.close()
        self._link.close()
        self._page.close()
