"""The processes engine: workers forked from a template process of our own.

No ``__main__`` guard is needed, the caller is never forked, multiprocessing's global state is not touched.
"""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from whichever.errors import EngineError, EngineUnavailableError
from whichever.executors._boot import start_template
from whichever.executors._courier import Courier, LostWorkerError
from whichever.executors._messaging import MessagingEngine

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_NUMBER = struct.Struct("<q")
_EXIT_SECONDS = 5.0  # for the template to end: it gives its workers 2 s


class ProcessesEngine(MessagingEngine):
    """Worker processes. They outlive Ctrl-C (the caller decides) and end with the caller, however it ends."""

    name = "processes"

    def __init__(self, workers: int, *, modules: Sequence[str] = ()) -> None:
        super().__init__(workers, modules=modules)
        self._template: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    @classmethod
    def unavailable(cls, fn: Callable[..., Any] | None = None) -> str | None:
        """Refuse systems without fork, coroutine functions, and what does not pickle."""
        if not hasattr(os, "fork") or not sys.executable:
            return "this platform cannot fork worker processes from a template"
        return super().unavailable(fn)

    def open(self) -> None:
        """Start template and workers; each has imported `modules` (those that can be) when this returns."""
        if self._couriers:
            return
        if reason := self.unavailable():
            raise EngineUnavailableError(reason)
        _refuse_recursion()
        try:
            self._template, self._control = start_template(self.modules, self.workers)
            self._couriers = [self._start_worker(self._control) for _ in range(self.workers)]
            self._await_ready()
        except LostWorkerError as lost:
            error = EngineError(self._describe_loss(lost.courier))
            self.close(kill=True)
            raise error from None
        except (EOFError, OSError) as failure:
            self.close(kill=True)
            msg = f"the processes engine could not start its template process: {failure or 'it ended'}"
            raise EngineError(msg) from failure
        except BaseException:
            self.close(kill=True)
            raise

    @staticmethod
    def _start_worker(control: socket.socket) -> Courier:
        ours, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(control, [b"F"], [theirs.fileno()])
        pid = _receive(control)
        return Courier(ours, pid, _open_pidfd(pid))

    def _describe_loss(self, courier: Courier) -> str:
        tasks = [index for batch in courier.under_way for index in batch]
        doing = f"while it had task {tasks[0]}" if tasks else "while it had no task"
        if len(tasks) > 1:
            doing = f"while it had tasks {tasks[0]} to {tasks[-1]}"
        return (
            f"worker process {courier.pid} of the processes engine {self._how_it_ended(courier.pid)} "
            f"{doing}; the engine is closed, open a new one"
        )

    def _how_it_ended(self, pid: int) -> str:
        if self._control is None:
            return "ended"
        try:
            self._control.sendall(b"R" + _NUMBER.pack(pid))
            code = _receive(self._control)
        except (EOFError, OSError):
            return "ended with its template process"
        return f"was killed by {_signal_name(-code)}" if code < 0 else f"exited with code {code}"

    def close(self, *, kill: bool = False) -> None:
        """Hang up and wait for the template, which collects its workers (killing those that linger)."""
        couriers, self._couriers = self._couriers, []
        for courier in couriers:
            if kill:
                _kill(courier)
            courier.close()
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._template is not None:
            template, self._template = self._template, None
            try:
                template.wait(_EXIT_SECONDS)
            except subprocess.TimeoutExpired:
                pass
            finally:
                template.kill()  # does nothing to one that has ended
                template.wait()


def _refuse_recursion() -> None:
    """Stop a worker whose import of a task's module starts workers in turn, before it goes round for ever."""
    worker = sys.modules.get("_whichever_remote.worker")
    if getattr(worker, "importing", False):
        msg = (
            "a worker process imported a module that starts the processes engine at its top level; "
            'put that call under `if __name__ == "__main__":` or in a function'
        )
        raise EngineError(msg)


def _receive(control: socket.socket) -> int:
    data = control.recv(_NUMBER.size, socket.MSG_WAITALL)
    if len(data) < _NUMBER.size:
        raise EOFError
    number: int = _NUMBER.unpack(data)[0]
    return number


def _open_pidfd(pid: int) -> int | None:
    """Open the worker's pidfd: a worker's own children may keep its socket open when it dies."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None


def _kill(courier: Courier) -> None:
    """Kill the worker; by pidfd if there is one, for a worker that was collected has given up its pid."""
    try:
        if courier.death is None:
            os.kill(courier.pid, signal.SIGKILL)
        else:
            signal.pidfd_send_signal(courier.death, signal.SIGKILL)
    except ProcessLookupError:
        pass


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
