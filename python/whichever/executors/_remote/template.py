"""The template: a process with one thread that does nothing but fork workers and collect them.

Forking the caller would copy its locks, connections and half-done work; forking this process copies imported
modules and nothing else. It ends, and its workers with it, when the caller closes the control socket or dies.
Control messages: ``F`` with a socket forks a worker on it and answers its pid; ``R`` and a pid waits for that
worker and answers how it ended.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import select
import signal
import socket
import struct
import sys
import time
import types
from typing import Any, NoReturn

from .worker import Worker, flush, load_modules

NUMBER = struct.Struct("<q")
GRACE_SECONDS = 2.0  # for workers to leave by themselves: exit handlers, threads that tasks left behind
_PR_SET_PDEATHSIG = 1


def main(config: dict[str, Any]) -> None:
    """Import the modules, then fork workers on request; returns only in a worker that is done."""
    # A handler, not SIG_IGN: programs that tasks start must still die of Ctrl-C. The caller blocked it.
    signal.signal(signal.SIGINT, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    sys.argv[:] = config["argv"]
    sys.modules["__main__"] = types.ModuleType("__main__")  # not the few lines that started us
    _import_single_threaded(config)
    _close_stdin()
    gc.collect()
    gc.freeze()  # collections in workers then leave the shared pages alone
    template = _Template(config)
    worker_socket = template.run()
    if worker_socket is None:
        template.end()
    Worker(worker_socket.detach(), own_folder=True).serve(config["late"])
    flush()


def _import_single_threaded(config: dict[str, Any]) -> None:
    """Import modules here, once for all workers, except those that start threads: a fork would lose these.

    After such an import the process starts over without that module, and each worker imports it for itself.
    """
    for name in list(config["modules"]):
        load_modules([name])
        if _thread_count() > 1:
            config["modules"].remove(name)
            config["late"].append(name)
            _start_over(config)


def _start_over(config: dict[str, Any]) -> None:
    """Replace this program by a fresh one, with the configuration where the first one found it: on stdin."""
    os.ftruncate(0, 0)
    os.lseek(0, 0, os.SEEK_SET)
    with open(0, "w", closefd=False) as file:
        json.dump(config, file)
    os.lseek(0, 0, os.SEEK_SET)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    os.set_inheritable(config["control"], True)  # noqa: FBT003 - the only way to call it
    os.execv(sys.executable, sys.orig_argv)  # noqa: S606 - our own command line


def _close_stdin() -> None:
    with open(os.devnull) as nothing:  # noqa: PTH123 - only its descriptor is wanted
        os.dup2(nothing.fileno(), 0)


def _thread_count() -> int:
    try:
        return len(os.listdir("/proc/self/task"))  # noqa: PTH208 - pathlib costs 5 ms at start
    except OSError:
        return 1


class _Template:
    """The loop that waits for orders."""

    def __init__(self, config: dict[str, Any]) -> None:
        self._control = socket.socket(fileno=config["control"])
        self._parent: int = config["parent"]
        self._children: set[int] = set()
        self._libc = ctypes.CDLL(None)

    def run(self) -> socket.socket | None:
        """Serve orders; returns in each forked worker, with its socket, and None when the caller is gone."""
        me, parent_fd = os.getpid(), _open_pidfd(self._parent)
        watched: list[Any] = [self._control] if parent_fd is None else [self._control, parent_fd]
        while os.getppid() == self._parent:
            ready, _, _ = select.select(watched, [], [])
            if self._control not in ready:
                break
            message, fds, _, _ = socket.recv_fds(self._control, 1, 1)
            if message == b"F":
                worker_socket = socket.socket(fileno=fds[0])
                if not self._fork(me):
                    if parent_fd is not None:
                        os.close(parent_fd)
                    self._control.close()
                    return worker_socket
                worker_socket.close()
            elif message == b"R":
                self._answer(self._reap(*NUMBER.unpack(self._control.recv(NUMBER.size, socket.MSG_WAITALL))))
            else:
                break
        return None

    def _answer(self, number: int) -> None:
        self._control.sendall(NUMBER.pack(number))

    def _fork(self, me: int) -> int:
        pid = os.fork()
        if pid:
            self._children.add(pid)
            self._answer(pid)
            return pid
        if hasattr(self._libc, "prctl"):  # Linux; elsewhere a worker ends when it next reads
            self._libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != me:
            os._exit(1)  # the template died before the line above could tie us to it
        if "numpy.random" in sys.modules:
            sys.modules[
                "numpy.random"
            ].seed()  # Python's own generator reseeds itself after a fork; this does not
        return 0

    def _reap(self, pid: int, seconds: float = 0.5) -> int:
        """Wait for a worker that is going; return its exit code, or minus the signal that killed it."""
        end = time.monotonic() + seconds
        done, status = os.waitpid(pid, os.WNOHANG)
        while not done:
            if time.monotonic() > end:
                os.kill(pid, signal.SIGKILL)
                done, status = os.waitpid(pid, 0)
            else:
                time.sleep(0.001)
                done, status = os.waitpid(pid, os.WNOHANG)
        self._children.discard(pid)
        return os.waitstatus_to_exitcode(status)

    def end(self) -> NoReturn:
        """Collect the workers, killing those that linger, and exit."""
        end = time.monotonic() + (GRACE_SECONDS if os.getppid() == self._parent else 0.0)
        for pid in tuple(self._children):
            self._reap(pid, end - time.monotonic())
        os._exit(0)


def _open_pidfd(pid: int) -> int | None:
    """Return a descriptor that becomes readable when `pid` ends; None where the system has none."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None
