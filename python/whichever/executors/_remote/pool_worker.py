"""The whole life of a process pool's worker: it gets its configuration, prepares, serves, leaves.

The same for workers forked from the template and for processes that multiprocessing made. One thread does it all:
the main thread, so that signals reach tasks.
"""

from __future__ import annotations

import atexit
import contextlib
import faulthandler
import gc
import importlib
import os
import random
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from . import cargo, prepared
from .configuring import receive_configuration, stay_alive_with
from .hooks import Hooks, TaskInterrupted
from .loading import load_modules
from .logs import forward_logging
from .output import flush_streams, forward_output
from .sharers import enter_process

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

_FAILURE_BYTES = 32 * 1024  # the core sends no more of a failed initializer's exception
_held: list[Any] = []
"""What must not be collected while the process lives: the socket that is its sign of life."""


def run_worker(
    sock: socket.socket,
    initializer: Callable[..., Any] | None = None,
    initargs: tuple[Any, ...] = (),
    idle_seconds: float | None = None,
) -> None:
    """Live a worker's life.

    Args:
        sock: The worker's end of the socket on which the configuration comes.
        initializer: Called first, before one in the configuration.
        initargs: Its arguments.
        idle_seconds: How long to wait for a configuration; if in doubt, leave it: for ever.

    Raises:
        SystemExit: The initializer failed; the caller has been told how.
    """
    received = receive_configuration(sock, idle_seconds)
    if received is None:
        return
    _held.append(sock)
    stay_alive_with(sock)
    configuration, (link, page, arena, own_arena, report) = received
    signal.set_wakeup_fd(-1)  # under fork it would be the caller's event loop that each signal wakes
    _settle(configuration)
    faulthandler.enable(report)
    core = _core().WorkerCore(link, page, arena, own_arena)
    hooks = Hooks(core, tuple(configuration.get("by_value", ())))
    _handle_signals(core)
    hooks.outlet = forward_output(core, hooks)
    forward_logging(core, hooks.outlet, configuration.get("log_levels", {}))
    load_modules([name for name in configuration.get("modules", ()) if name not in sys.modules])
    try:
        _initialize(configuration, initializer, initargs)
    except BaseException as error:  # noqa: BLE001 - the user's initializer may raise anything
        hooks.flush()
        core.report_failure(cargo.dump_error(error, _FAILURE_BYTES))
        raise SystemExit(1) from None
    hooks.note_context()
    gc.freeze()  # nothing of what is there by now will ever be garbage
    core.serve(hooks, configuration.get("max_memory_bytes"))
    hooks.flush()


def _core() -> Any:
    """Return the native core, which the template has loaded by its path, without the package above it."""
    return importlib.import_module("whichever._core")


def _settle(configuration: dict[str, Any]) -> None:
    """Make this process resemble the caller, as it is now: environment, folder, path, cores; and give it its name."""
    _renew_environment(configuration["environ"])
    enter_process(configuration.get("sharers", 1), configuration["inner_limits"])
    if (umask := configuration["umask"]) is not None:
        os.umask(umask)
    if (cores := configuration["cores"]) is not None:
        with contextlib.suppress(OSError):  # they were taken from us meanwhile
            os.sched_setaffinity(0, cores)
    with contextlib.suppress(OSError):
        os.chdir(configuration["folder"])
    sys.path[:] = configuration["path"]
    sys.argv[:] = configuration["argv"]
    cargo.forbid(tuple(configuration.get("by_value", ())))
    # As multiprocessing does; a file that does not own its descriptor may be left open without a warning.
    sys.stdin = open(os.open(os.devnull, os.O_RDONLY), closefd=False)  # noqa: SIM115
    name = configuration["name"]
    with contextlib.suppress(OSError), open("/proc/self/comm", "w") as file:  # noqa: PTH123 - pathlib costs 5 ms
        file.write(name)
    import multiprocessing.process  # noqa: PLC0415 - the template has it

    this = multiprocessing.process.current_process()
    this.name, this.authkey = name, configuration["authkey"]  # managers of the caller know the key
    random.seed()
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed()


def _renew_environment(wanted: dict[str, str]) -> None:
    if os.environ == wanted:
        return
    for name in [name for name in os.environ if name not in wanted]:
        del os.environ[name]
    for name, value in wanted.items():
        if os.environ.get(name) != value:
            os.environ[name] = value
    if hasattr(time, "tzset"):
        time.tzset()


def _handle_signals(core: Any) -> None:
    """Let SIGINT end the task that the caller means, and nothing else: Ctrl-C reaches the whole group.

    A handler, not SIG_IGN, which the programs that tasks start would inherit.
    """

    def interrupt(_number: int, _frame: object) -> None:
        if core.take_interrupt():
            raise TaskInterrupted

    signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})
    os.register_at_fork(after_in_child=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))


def _initialize(
    configuration: dict[str, Any], initializer: Callable[..., Any] | None, initargs: tuple[Any, ...]
) -> None:
    # What multiprocessing started has the caller's `__main__` in some form; from a template it goes as code.
    with prepared.preparing(initializer) as begin:
        args: tuple[Any, ...] = initargs
        if (blob := configuration.get("initializer")) is not None:
            initializer, args, _ = cargo.load_call(blob)
        if initializer is not None:
            begin()
            initializer(*args)


def leave() -> None:
    """Do what an interpreter does before it ends: wait for threads, call exit handlers, flush."""
    with contextlib.suppress(BaseException):
        threading._shutdown()  # type: ignore[attr-defined]  # noqa: SLF001 - multiprocessing's workers do it so
    with contextlib.suppress(BaseException):
        atexit._run_exitfuncs()  # noqa: SLF001 - as above
    flush_streams()
