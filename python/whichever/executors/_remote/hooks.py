"""What the native core of a worker calls: to load a task, run it, and dump how it ended."""

from __future__ import annotations

import os
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, NoReturn

from . import cargo
from .contexts import Arrivals
from .output import flush_streams

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .output import Outlet


class TaskInterrupted(BaseException):
    """The caller has asked for the end of the task that runs.

    A BaseException, so that a task's ``except Exception`` does not keep it running.
    """


class Hooks:
    """Called in the worker's one thread, in the order load, run, dump.

    Attributes:
        dirty: Whether `flush` has anything to do.
        outlet: Where what tasks print goes; None before there is one.
    """

    def __init__(self, core: Any, by_value: tuple[str, ...] = ()) -> None:
        self._core = core
        self._by_value = by_value
        self._arrivals = Arrivals()
        self.dirty = False
        self.outlet: Outlet | None = None
        self.load_function = cargo.load_function
        self.load_call = cargo.load_call
        self.dump_error = cargo.dump_error

    def note_context(self) -> None:
        """Take the context as it is now, after the initializer, for the one in which every task starts."""
        self._arrivals = Arrivals(copy_context())

    def run(
        self, context: bytes, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any] | None
    ) -> Any:
        """Call the function in a context of its own, with the caller's context variables in it."""
        return self._arrivals.context(context).run(fn, *args, **(kwargs or {}))

    def leave_copy(self, error: BaseException | None) -> NoReturn:
        """End the copy of this process that a task made by forking: it must not answer in our name."""
        flush_streams()
        code = error.code if isinstance(error, SystemExit) else int(error is not None)
        os._exit(code if isinstance(code, int) else int(code is not None))

    def dump_result(self, value: object) -> tuple[bytes, list[memoryview]]:
        """Pickle a result; raises what the value raises when pickled."""
        return cargo.dump_result(value, self._by_value)

    def flush(self) -> None:
        """Send what tasks have printed."""
        if self.outlet is not None:
            self.outlet.flush()
