"""The template of a process pool's workers: a process with one thread that forks them and collects them.

Forking the caller would copy its locks, connections and half-done work; forking this process copies imported
modules and nothing else. It ends, and its workers with it, when the caller closes the control socket or dies.

Control packets, 32 bytes each but ``M`` (which is followed by a JSON list of names). It is told: ``F`` with a
socket and a token: fork a worker on it; ``M``: import these before the next fork. It tells: ``F``: forked (pid,
token); ``E``: could not (errno, token); ``D``: that worker has ended (wait status, token, peak memory, pid).
"""

from __future__ import annotations

import contextlib
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

from .loading import load_modules
from .output import flush_streams
from .pool_worker import leave, run_worker

PACKET = struct.Struct("<cxxxiqqq")
_LATER = ("cloudpickle", "fcntl")  # what most workers need, but the first of a program need not wait for
PACKET_BYTES = 64 * 1024  # at most, for a list of modules
GRACE_SECONDS = 2.0  # for workers to leave by themselves: exit handlers, threads that tasks left behind
IDLE_SECONDS = 30.0  # a worker without a configuration waits so long for one
_PARENT_SECONDS = 1.0  # between looks at the parent, where the system has no descriptor for it
_PR_SET_PDEATHSIG = 1


def main(config: dict[str, Any]) -> NoReturn:
    """Import the modules, then fork workers on request."""
    # A handler, not SIG_IGN: programs that tasks start must still die of Ctrl-C. The caller blocked it.
    signal.signal(signal.SIGINT, lambda *_: None)
    # SIGCHLD, whatever thread of the caller started us: without it no worker would be missed.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGCHLD})
    sys.argv[:] = config["argv"]
    sys.modules["__main__"] = types.ModuleType("__main__")  # not the few lines that started us
    foreman = _Foreman(config)
    foreman.learn(())
    with open(os.devnull) as nothing:  # noqa: PTH123 - only its descriptor is wanted
        os.dup2(nothing.fileno(), 0)
    worker_socket = foreman.work()
    if worker_socket is None:
        foreman.end()
    code = 1
    try:
        run_worker(worker_socket, idle_seconds=IDLE_SECONDS)
        code = 0
    except SystemExit:  # the caller knows why
        pass
    except BaseException:  # noqa: BLE001 - whatever it is, this process must not go on as the template
        sys.excepthook(*sys.exc_info())
    finally:
        leave()
        os._exit(code)


class _Foreman:
    """The loop that waits for orders.

    Attributes of its configuration that outlive a start-over: ``late``, the modules that start threads and so are
    left to the workers, and ``children``, the token of each worker by its pid.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        self._config = config
        self._control = socket.socket(fileno=config["control"])
        self._parent: int = config["parent"]
        self._parent_fd = _open_pidfd(self._parent)
        self._children = {int(pid): token for pid, token in config["children"].items()}
        self._stdin = os.dup(0)  # where the configuration was; descriptor 0 is to be empty
        self._patience_ms = _PARENT_SECONDS * 1000 if self._parent_fd is None else None
        self._later: tuple[str, ...] = _LATER
        self._load_prctl()
        self._wake, wake_end = socket.socketpair()
        self._wake_end = wake_end
        self._wake.setblocking(False)  # noqa: FBT003 - the only way to call it
        wake_end.setblocking(False)  # noqa: FBT003
        signal.set_wakeup_fd(wake_end.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def _load_prctl(self) -> None:
        self._prctl: Any = None
        with contextlib.suppress(ImportError, AttributeError, OSError):  # then the workers' sockets must do
            import ctypes  # noqa: PLC0415 - some builds have none

            self._prctl = ctypes.CDLL(None).prctl

    def learn(self, names: tuple[str, ...]) -> None:
        """Import modules here, once for all workers, except those that start threads: a fork would lose these.

        After such an import the process starts over without that module, and each worker imports it for itself.
        """
        wanted: list[str] = self._config["modules"]
        wanted += [name for name in names if name not in wanted and name not in self._config["late"]]
        for name in list(wanted):
            if name not in sys.modules:
                load_modules([name])
            if _thread_count() > 1:
                wanted.remove(name)
                self._config["late"].append(name)
                self._start_over()
        gc.collect()
        gc.freeze()  # collections in workers then leave the shared pages alone

    def _start_over(self) -> NoReturn:
        """Replace this program by a fresh one, with the configuration where the first one found it: on stdin."""
        self._config["children"] = self._children
        signal.set_wakeup_fd(-1)
        os.ftruncate(self._stdin, 0)
        os.lseek(self._stdin, 0, os.SEEK_SET)
        with open(self._stdin, "w", closefd=False) as file:
            json.dump(self._config, file)
        os.lseek(self._stdin, 0, os.SEEK_SET)
        os.dup2(self._stdin, 0)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        os.set_inheritable(self._config["control"], True)  # noqa: FBT003 - the only way to call it
        os.execv(sys.executable, sys.orig_argv)  # noqa: S606 - our own command line

    def work(self) -> socket.socket | None:
        """Serve orders; returns in each forked worker, with its socket, and None when the caller is gone."""
        watched = [self._control.fileno(), self._wake.fileno()]
        if self._parent_fd is not None:
            watched.append(self._parent_fd)
        poll = select.poll()
        for fd in watched:
            poll.register(fd, select.POLLIN)
        while os.getppid() == self._parent:
            self._collect()
            ready = {fd for fd, _ in poll.poll(0 if self._later else self._patience_ms)}
            if not ready and self._later:
                self.learn(self._later)
                self._later = ()
            if self._wake.fileno() in ready:
                with contextlib.suppress(BlockingIOError):
                    while self._wake.recv(4096):
                        pass
            if self._control.fileno() in ready:
                message, fds = self._hear()
                if not message:
                    break
                if (worker_socket := self._obey(message, fds)) is not None:
                    return worker_socket
        return None

    def _hear(self) -> tuple[bytes, list[int]]:
        """Receive one order; an empty one when the caller is gone."""
        with contextlib.suppress(ConnectionResetError):  # it left words of ours unread
            message, fds, _, _ = socket.recv_fds(self._control, PACKET_BYTES, 1, socket.MSG_CMSG_CLOEXEC)
            return message, fds
        return b"", []

    def _obey(self, message: bytes, fds: list[int]) -> socket.socket | None:
        """Carry out one order; return the worker's socket in a forked worker."""
        if message[:1] == b"M":
            self.learn(tuple(json.loads(message[1:])))
            return None
        _, _, token, _, _ = PACKET.unpack(message)
        with contextlib.ExitStack() as stack:
            worker_socket = stack.enter_context(socket.socket(fileno=fds[0]))
            if self._fork(token):
                return None
            stack.pop_all()
            return worker_socket

    def _fork(self, token: int) -> int:
        me = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            self._tell(b"E", error.errno or 0, token)
            return -1
        if pid:
            self._children[pid] = token
            self._tell(b"F", pid, token)
            return pid
        if self._prctl is not None:
            self._prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != me:
            os._exit(1)  # the template died before the line above could tie us to it
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for sock in (self._control, self._wake, self._wake_end):
            sock.close()
        for fd in (self._parent_fd, self._stdin):
            if fd is not None:
                os.close(fd)
        return 0

    def _tell(self, *fields: Any) -> None:
        with contextlib.suppress(OSError):  # the caller is gone, which the loop will see
            self._control.send(PACKET.pack(*fields, *[0] * (5 - len(fields))))

    def _collect(self) -> None:
        """Report the workers that have ended."""
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
                if not pid:
                    break
                token = self._children.pop(pid, None)
                if token is not None:  # else some module's import started it
                    self._tell(b"D", status, token, usage.ru_maxrss, pid)

    def end(self) -> NoReturn:
        """Collect the workers, killing those that linger, and exit."""
        end = time.monotonic() + (GRACE_SECONDS if os.getppid() == self._parent else 0.0)
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        self._collect()
        while self._children and (left := end - time.monotonic()) > 0:
            if poll.poll(left * 1000):
                with contextlib.suppress(BlockingIOError):
                    self._wake.recv(4096)
            self._collect()
        for pid in self._children:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        flush_streams()
        os._exit(0)


def _thread_count() -> int:
    try:
        return len(os.listdir("/proc/self/task"))  # noqa: PTH208 - pathlib costs 5 ms at start
    except OSError:
        return 1


def _open_pidfd(pid: int) -> int | None:
    """Return a descriptor that becomes readable when `pid` ends; None where the system has none."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None
