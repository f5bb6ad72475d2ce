"""What a pool's native core asks of Python: to start workers, load what they sent, and name how they ended."""

from __future__ import annotations

import contextlib
import itertools
import pickletools
import signal as signals
import sys
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from whichever import _core
from whichever.errors import PoolBrokenError, RemoteError, TaskTimeoutError, WorkerDied
from whichever.executors import _stamps
from whichever.executors._crew import Crew, Hired, Order, crew
from whichever.executors._imports import running_modules
from whichever.executors._remote import cargo
from whichever.executors._remote.contexts import dump_context
from whichever.executors._remote.logs import handle_log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from contextvars import Context
    from multiprocessing.context import BaseContext

_REMEMBERED = 64  # ended workers whose last words may still be asked for
_USUAL = frozenset({"numpy"})
"""What a program that has it mostly needs in its tasks too: imported once for all workers, which saves each 70 ms."""
_LOOKS = 4  # of a pool's first payloads, for the modules that workers should have from the start
_LOOK_BYTES = 64 * 1024  # longer payloads are not searched
_JOIN_SECONDS = 1.0  # for a process whose end was seen already


@dataclass(frozen=True, slots=True)
class Staff:
    """What a pool's workers are to be.

    Attributes:
        name: Their name, for ps and the meter; a number follows.
        sharers: How many workers share the cores with each of them: these, times those of the pools around.
        inner_threads: How many threads native libraries may start in each.
        max_memory_bytes: Resident bytes beyond which a worker is replaced after its task; None for no limit.
        context: The context of multiprocessing that makes them; None for our own template.
        initializer: Called in each before its first task.
        initargs: Its arguments.
    """

    name: str
    sharers: int
    inner_threads: int
    max_memory_bytes: int | None
    context: BaseContext | None
    initializer: Callable[..., Any] | None
    initargs: tuple[Any, ...]


class Host:
    """One pool's side of Python. Its methods are called by the core, from any thread.

    Args:
        staff: What its workers are to be.
        own_crew: Who hires them; None for the one that this process's pools share.
        modules: What they import before their first task, beside what functions that were handed in need.
    """

    def __init__(self, staff: Staff, own_crew: Crew | None = None, modules: Iterable[str] = ()) -> None:
        self._staff = staff
        self._own_crew = own_crew
        self._numbers = itertools.count(1)
        self._hired: dict[int, Hired] = {}
        self._ended: OrderedDict[int, tuple[int | None, str | None]] = OrderedDict()
        self._lock = threading.Lock()
        # Who brings a crew knows what tasks need; its templates start anew each time.
        usual = [name for name in _USUAL if own_crew is None and name in sys.modules]
        self._modules = {*usual, *modules}
        self._looks = _LOOKS
        self.ending = False
        self.on_over: Callable[[Host], object] | None = None

    def hire(self, fds: tuple[int, int, int, int]) -> int:
        """Start a worker and return its token."""
        staff = self._staff
        configuration = {
            "name": f"{staff.name}-{next(self._numbers)}",
            "by_value": running_modules(),
            "max_memory_bytes": staff.max_memory_bytes,
            "sharers": staff.sharers,
        }
        hired = (self._own_crew or crew).hire(
            Order(
                fds=(fds[0], fds[1], fds[2], fds[3]),
                configuration=configuration,
                inner_threads=staff.inner_threads,
                modules=tuple(sorted(self._modules)),
                context=staff.context,
                initializer=staff.initializer,
                initargs=staff.initargs,
            )
        )
        with self._lock:
            self._hired[hired.token] = hired
        if hired.process is not None and hired.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                _core.watch_pid(hired.token, hired.pid)
        return hired.token

    def over(self) -> None:
        """Note that nothing of the pool is left."""
        if self.on_over is not None:
            self.on_over(self)

    def hang_up(self, token: int) -> None:
        """Kill a worker whose process id is not known yet."""
        with self._lock:
            hired = self._hired.get(token)
        if hired is not None:
            hired.lifeline.close()

    def ended(self, token: int) -> None:
        """Let go of a worker that has ended."""
        with self._lock:
            hired = self._hired.pop(token, None)
        if hired is None:
            return
        code = None
        if hired.process is not None:
            hired.process.join(_JOIN_SECONDS)
            code = hired.process.exitcode
        with self._lock:
            self._ended[token] = code, hired.stack()
            while len(self._ended) > _REMEMBERED:
                self._ended.popitem(last=False)
        hired.close()

    def died(
        self, token: int, pid: int, signal: int | None, exit_code: int | None, peak_bytes: int | None
    ) -> WorkerDied:
        """Return the error of a task whose worker died while it ran."""
        self.ended(token)
        with self._lock:
            code, stack = self._ended.get(token, (None, None))
        if signal is None and exit_code is None and code is not None:
            signal, exit_code = (-code, None) if code < 0 else (None, code)
        how = "ended"
        if signal is not None:
            how = f"was killed by {_signal_name(signal)}"
        elif exit_code is not None:
            how = f"exited with code {exit_code}"
        memory = "" if peak_bytes is None else f"; it held {peak_bytes / 1e6:.0f} MB at most"
        where = "" if stack is None else f"\n{stack}"
        message = f"worker process {pid} {how} while it ran this task{memory}; the pool goes on{where}"
        return WorkerDied(
            message, pid, signal=signal, exit_code=exit_code, peak_memory_bytes=peak_bytes, stack=stack
        )

    def timed_out(self) -> TaskTimeoutError:
        """Return the error of a task that was stopped because its time was over."""
        return TaskTimeoutError("the task ran longer than its timeout and was stopped")

    def broken(self, reason: str, error: bytes | None) -> PoolBrokenError:
        """Return the error of a task that a broken pool does not run."""
        broken = PoolBrokenError(reason)
        if error is not None:
            broken.__cause__ = cargo.load_error(error)
        return broken

    def closed_reason(self) -> str:
        """Say why no task is taken."""
        after = "interpreter shutdown" if self.ending else "shutdown"
        return f"cannot schedule new futures after {after}"

    def say(self, stream: int, text: bytes) -> None:
        """Write what a task printed to the caller's stream."""
        target = sys.stdout if stream == 1 else sys.stderr
        with contextlib.suppress(ValueError, OSError, AttributeError):  # closed, full, or None
            target.write(text.decode(errors="replace"))
            target.flush()

    def log(self, record: bytes) -> None:
        """Hand a log record of a task to the caller's loggers."""
        handle_log(record)

    def dump_call(
        self, fn: Callable[..., Any] | None, args: tuple[Any, ...], kwargs: Mapping[str, Any] | None
    ) -> tuple[bytes, list[memoryview]]:
        """Pickle a call."""
        blob, buffers = cargo.dump_call(fn, args, kwargs or {}, running_modules())
        if self._looks:
            self._looks -= 1
            self._modules |= _named_modules(blob)
        return blob, buffers

    def dump_function(self, fn: Callable[..., Any]) -> tuple[bytes, bool, object]:
        """Pickle a function; say whether it may be remembered, and what to compare before it is used again."""
        by_value = running_modules()
        stamp = _stamps.stamp(fn, by_value)
        module = getattr(fn, "__module__", None)
        if isinstance(module, str) and module not in by_value and module != "__main__":
            self._modules.add(module)
        found_by_name = stamp is not None and not stamp.functions
        return cargo.dump_function(fn, by_value), stamp is not None, None if found_by_name else stamp

    def still_same(self, stamp: _stamps.Stamp) -> bool:
        """Say whether a function that was pickled is what it was."""
        return _stamps.still_same(stamp, running_modules())

    def dump_context(self, _context: Context) -> bytes:
        """Pickle the context variables of the thread that calls."""
        return dump_context(running_modules())

    def load(self, blob: bytes, buffers: list[Any]) -> Any:
        """Load a result."""
        try:
            return cargo.load_result(blob, buffers)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            kind = type(error)
            name = f"{kind.__module__}.{kind.__qualname__}"
            raise RemoteError(name, f"the task's result could not be loaded: {error}", "") from error

    def raised(self, blob: bytes, unloadable: bool) -> BaseException:  # noqa: FBT001 - called by the core
        """Load what a task raised, or why it could not be loaded in the worker."""
        error = cargo.load_error(blob)
        if not unloadable or isinstance(error, RemoteError):
            return error
        kind = type(error)
        text = f"the worker could not load the task: {error}"
        failure = RemoteError(f"{kind.__module__}.{kind.__qualname__}", text, str(error.__cause__))
        failure.__cause__ = error
        return failure


def _named_modules(blob: bytes) -> set[str]:
    """Return the modules that a pickle names, which whoever loads it imports."""
    if len(blob) > _LOOK_BYTES:
        return set()
    names: set[str] = set()
    texts = ["", ""]
    for opcode, argument, _ in pickletools.genops(blob):
        if opcode.name == "STACK_GLOBAL":
            names.add(texts[-2])
        elif isinstance(argument, str):
            texts = [texts[-1], argument]
    return {name for name in names if name in sys.modules}


def _signal_name(number: int) -> str:
    try:
        return signals.Signals(number).name
    except ValueError:
        return f"signal {number}"
