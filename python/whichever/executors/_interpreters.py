"""The interpreters engine: sub-interpreters with a GIL each, on threads of this process (3.14 and later)."""

from __future__ import annotations

import atexit
import contextlib
import importlib
import importlib.util
import json
import os
import socket
import sys
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

from whichever.errors import EngineError, EngineUnavailableError
from whichever.executors._boot import configuration, interpreter_code
from whichever.executors._courier import Courier, LostWorkerError
from whichever.executors._imports import modules_of
from whichever.executors._messaging import MessagingEngine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

_EXIT_SECONDS = 3.0  # for an interpreter that is not busy to end
_KILL_SECONDS = 0.2  # for a busy one to notice; a native call cannot be interrupted


class InterpretersEngine(MessagingEngine):
    """Sub-interpreters. Tasks share the process (folder, environment, descriptors) but no objects."""

    name = "interpreters"

    def __init__(self, workers: int, *, modules: Sequence[str] = ()) -> None:
        super().__init__(workers, modules=modules)
        self._threads: list[_InterpreterThread] = []

    @classmethod
    def unavailable(cls, fn: Callable[..., Any] | None = None) -> str | None:
        """Say when this Python has no sub-interpreters or a module that `fn` uses does not load in one."""
        if importlib.util.find_spec("concurrent.interpreters") is None:
            major, minor = sys.version_info[:2]
            return f"sub-interpreters need Python 3.14, this is {major}.{minor}"
        if fn is None:
            return None
        return super().unavailable(fn) or _refused_module(modules_of(fn))

    def open(self) -> None:
        """Start the interpreters; each has imported `modules` when this returns."""
        if self._couriers:
            return
        if reason := self.unavailable():
            raise EngineUnavailableError(reason)
        atexit.register(self.close, kill=True)  # Python's own end would wait for the interpreters' threads
        try:
            for _ in range(self.workers):
                self._start_worker()
            failed = self._await_ready()
        except LostWorkerError as lost:
            error = EngineError(self._describe_loss(lost.courier))
            self.close(kill=True)
            raise error from None
        except BaseException:
            self.close(kill=True)
            raise
        if failed:
            self.close()
            raise EngineUnavailableError(_describe_refusal(*next(iter(failed.items()))))

    def _start_worker(self) -> None:
        ours, theirs = socket.socketpair()
        stop_read, stop_write = os.pipe()
        self._couriers.append(Courier(ours))
        self._threads.append(
            _InterpreterThread(
                configuration(fd=theirs.detach(), stop=stop_read, modules=self.modules), stop_write
            )
        )

    def _describe_loss(self, courier: Courier) -> str:
        thread = self._threads[self._couriers.index(courier)]
        thread.join(_KILL_SECONDS)
        reason = f": {thread.failure}" if thread.failure else ""
        return f"a sub-interpreter ended early{reason}; the engine is closed, open a new one"

    def close(self, *, kill: bool = False) -> None:
        """Hang up and wait; with `kill`, interrupt Python code and leave native calls behind."""
        atexit.unregister(self.close)
        couriers, self._couriers = self._couriers, []
        threads, self._threads = self._threads, []
        for courier in couriers:
            courier.close()
        for thread in threads:
            thread.hang_up(kill=kill)
        _lingering.update(threads)
        _join(threads, _KILL_SECONDS if kill else _EXIT_SECONDS)


class _InterpreterThread(threading.Thread):
    """One interpreter, from its creation to its end, on a thread that does not delay exit."""

    def __init__(self, config: dict[str, Any], stop: int) -> None:
        super().__init__(name="whichever-interpreters", daemon=True)
        self._config = config
        self._stop = stop
        self.failure = ""
        self.start()

    def run(self) -> None:
        """Live."""
        interpreters = importlib.import_module("concurrent.interpreters")
        try:
            interpreter = interpreters.create()
            try:
                interpreter.prepare_main(config=json.dumps(self._config))
                interpreter.exec(interpreter_code())
            finally:
                interpreter.close()
        except interpreters.InterpreterError as error:
            self.failure = str(error)
        finally:
            os.close(self._config["fd"])
            os.close(self._config["stop"])

    def hang_up(self, *, kill: bool) -> None:
        """Let the interpreter's watcher go; with `kill`, have it interrupt the task."""
        with contextlib.suppress(OSError):
            if kill:
                os.write(self._stop, b"k")
        os.close(self._stop)


_lingering: weakref.WeakSet[_InterpreterThread] = weakref.WeakSet()


def _join(threads: Iterable[threading.Thread], seconds: float) -> None:
    end = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(end - time.monotonic(), 0.0))


@atexit.register
def _await_lingering() -> None:
    """Let interpreters finish ending before Python ends under them: that can crash."""
    _join(tuple(_lingering), _EXIT_SECONDS)


def _refused_module(names: list[str]) -> str | None:
    """Try `names` in a fresh sub-interpreter; say which does not load there and why."""
    engine = InterpretersEngine(1, modules=names)
    try:
        engine.open()
    except EngineUnavailableError as error:
        return str(error)
    engine.close()
    return None


def _describe_refusal(module: str, error: str) -> str:
    return f"module {module} does not load in a sub-interpreter: {error}"
