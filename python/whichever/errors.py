"""Every exception that whichever raises of its own: one tree, beside the standard ones users catch."""

from __future__ import annotations

import queue
from concurrent.futures.process import BrokenProcessPool
from typing import Any


class WhicheverError(Exception):
    """Base of all errors of whichever; catch it to catch them all."""


class NoItemsError(WhicheverError, ValueError):
    """Nothing to measure: the iterable gave no item. Pass at least one."""


class TaskError(WhicheverError, RuntimeError):
    """Every sampled task raised, so there is nothing to judge by.

    The first task's own exception is the ``__cause__``.

    Attributes:
        index: Position of the first failing item, counted from 0.
    """

    def __init__(self, message: str, index: int) -> None:
        super().__init__(message)
        self.index = index


class EngineError(WhicheverError, RuntimeError):
    """An engine could not be started or lost its workers; the message says which and what to do."""


class EngineUnavailableError(EngineError, ValueError):
    """The engine does not exist here, or cannot run this function; the message says why."""


class PoolBrokenError(EngineError, BrokenProcessPool):
    """The pool cannot run tasks any more, as when its initializer raised; the message says why. Make a new one."""


class WorkerDied(EngineError, BrokenProcessPool):  # noqa: N818 - a public name that says what happened
    """The worker process of a task ended before the task did. The pool goes on; only this task is lost.

    Attributes:
        pid: The process that ended.
        signal: Number of the signal that killed it; None if none did.
        exit_code: What it exited with; None if a signal killed it.
        peak_memory_bytes: The most memory that was resident for it; None if the system did not say.
        stack: The Python stack at its end, where the signal left time for one.
    """

    def __init__(
        self,
        message: str,
        pid: int,
        *,
        signal: int | None = None,
        exit_code: int | None = None,
        peak_memory_bytes: int | None = None,
        stack: str | None = None,
    ) -> None:
        super().__init__(message)
        self.pid = pid
        self.signal = signal
        self.exit_code = exit_code
        self.peak_memory_bytes = peak_memory_bytes
        self.stack = stack

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.pid), self.__dict__


class RemoteError(WhicheverError, BrokenProcessPool):
    """A task raised an exception that cannot be pickled, or not be loaded again; this one stands for it.

    The far traceback is the ``__cause__``. To get the exception itself, make its class picklable: its arguments
    must be those that ``Exception.__init__`` was given.

    Attributes:
        type_name: Module and name of the exception's class.
        text: What the exception says.
        traceback: The traceback, as text.
    """

    def __init__(self, type_name: str, text: str, traceback: str) -> None:
        super().__init__(f"{type_name}: {text}" if text else type_name)
        self.type_name = type_name
        self.text = text
        self.traceback = traceback

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.type_name, self.text, self.traceback), self.__dict__


class TaskTimeoutError(WhicheverError, TimeoutError):
    """A task ran for longer than it was allowed to, and was stopped. Allow it more, or give it less to do."""


class ProbeError(WhicheverError, OSError):
    """The interpreter's memory does not look as this version of whichever expects; the message says where."""


class QueueEmpty(WhicheverError, queue.Empty):  # noqa: N818 - named after the standard ones
    """No item came in time. Wait longer, or do something else first."""


class QueueFull(WhicheverError, queue.Full):  # noqa: N818 - named after the standard ones
    """No place became free in time. Wait longer, or let consumers take something first."""


class QueueClosed(WhicheverError, getattr(queue, "ShutDown", Exception)):  # type: ignore[misc]  # noqa: N818
    """The queue was closed: it takes nothing more; or, to who would get an item, nothing is left in it.

    A ``queue.ShutDown`` too, where the standard library has that (3.13).
    """
