"""Where a process pool's workers come from: a crew's templates and warm spares, or multiprocessing.

Hiring never waits for the new worker: what it is to know lies in its socket by the time it starts to read.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import importlib.util
import os
import socket
import sys
import sysconfig
import threading
import time
import weakref
from dataclasses import dataclass, field
from multiprocessing import process as mp_process
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whichever import _core
from whichever.errors import EngineError, EngineUnavailableError
from whichever.executors._boot import search_path, thread_limits
from whichever.executors._cores_left import cores_left
from whichever.executors._living import Living
from whichever.executors._remote import cargo
from whichever.executors._remote.configuring import file_in_memory, send_configuration
from whichever.executors._remote.loading import loading
from whichever.executors._remote.logs import dump_levels
from whichever.executors._remote.pool_worker import run_worker
from whichever.executors._remote.sharers import sharers
from whichever.executors._template import Spare, Template, new_token

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from multiprocessing.context import BaseContext
    from multiprocessing.process import BaseProcess

_MAX_SPARES = 4
_EXIT_SECONDS = 5.0  # for the templates to end: they give their workers 2 s
_CRASH_BYTES = 256 * 1024  # of a crash report are shown


@dataclass(frozen=True)
class Order:
    """What a pool wants of a worker.

    Attributes:
        fds: Descriptors of its link, the bell page, the caller's arena and its own; the pool keeps and closes them.
        configuration: What the worker is told, beside what `Crew.hire` adds; ``name`` at least.
        inner_threads: How many threads native libraries may start in it.
        modules: What its tasks import.
        context: A context of multiprocessing that is to make the process; None for a template.
        initializer: Called in the worker before its first task.
        initargs: Its arguments.
    """

    fds: tuple[int, int, int, int]
    configuration: Mapping[str, Any]
    inner_threads: int
    modules: tuple[str, ...] = ()
    context: BaseContext | None = None
    initializer: Callable[..., Any] | None = None
    initargs: tuple[Any, ...] = ()


@dataclass
class Hired:
    """A worker that is on its way.

    Attributes:
        token: Its number in the template's answers.
        lifeline: The worker is killed when this is closed: keep it as long as the worker may live.
        process: The process, if multiprocessing made it.
        pid: Its process id; None until the template has told it.
    """

    token: int
    lifeline: _core.Descriptor
    process: BaseProcess | None = None
    pid: int | None = None
    report: _core.Descriptor | None = field(default=None, repr=False)

    def stack(self) -> str | None:
        """Return the Python stack that the worker left when it crashed; None if it left none."""
        if self.report is None:
            return None
        text = os.pread(self.report.fileno(), _CRASH_BYTES, 0).decode(errors="replace").strip()
        return text or None

    def close(self) -> None:
        """Give up the lifeline and the crash report."""
        self.lifeline.close()
        if self.report is not None:
            self.report.close()


class Crew:
    """Hires workers; safe to use from every thread. In a forked copy of the process it starts empty.

    Args:
        spares: Most workers to keep ready in a template for the next order; None for one a core that is left.
    """

    def __init__(self, spares: int | None = None) -> None:
        self._spares = spares
        self._forget()
        _crews.add(self)

    def hire(self, order: Order) -> Hired:
        """Order a worker and return at once.

        Raises:
            EngineUnavailableError: The platform has no way to start one.
            EngineError: The template process does not start.
            Exception: Whatever the initializer's arguments raise when pickled.
        """
        refuse_recursion()
        if order.context is not None:
            return self._hire_from(order.context, order)
        if not hasattr(os, "fork") or not sys.executable:
            msg = "this platform cannot fork worker processes from a template"
            raise EngineUnavailableError(msg)
        configuration = _configuration(order)
        if order.initializer is not None:
            by_value = configuration.get("by_value", ())
            configuration["initializer"] = cargo.dump_call(order.initializer, order.initargs, {}, by_value)[0]
        with self._lock:
            return self._hire_forked(order, configuration)

    def _hire_forked(self, order: Order, configuration: dict[str, Any]) -> Hired:
        report = _core.Descriptor(file_in_memory("whichever-crash"))
        fds = [*order.fds, report.fileno()]
        failure: OSError | None = None
        limits = thread_limits(order.inner_threads)
        for _ in range(2):  # a template may have been killed since it was last used
            try:
                template = self._template(limits)
                configuration.update(_environment(template.limits))
                spare = self._place(
                    template, order, lambda sock: send_configuration(sock, configuration, fds)
                )
            except OSError as error:
                failure = error
                self._dismiss(limits)
                continue
            lifeline = self._lifeline(spare.socket)
            with contextlib.suppress(OSError):  # the worker that was asked for is on its way
                self._refill(template)
            return Hired(spare.token, lifeline, report=report)
        report.close()
        msg = f"the template process that starts workers cannot be reached: {failure}"
        raise EngineError(msg) from failure

    def _place(self, template: Template, order: Order, configure: Callable[[socket.socket], None]) -> Spare:
        """Give the configuration to a spare that will do, or to a worker that is ordered now."""
        missing = frozenset(filter(_is_installed, order.modules)) - template.modules
        if missing:
            while template.spares:  # they lack these, and so will be of little use
                template.spares.popleft().dismiss()
            template.learn(missing)
        while template.spares:
            spare = template.spares.popleft()
            if not spare.has_ended():
                with contextlib.suppress(OSError):  # it has waited too long and is leaving
                    configure(spare.socket)
                    return spare
            spare.dismiss()
        spare = template.fork()
        try:
            configure(spare.socket)
        except BaseException:
            spare.dismiss()
            raise
        return spare

    def _template(self, limits: dict[str, str]) -> Template:
        # Libraries that it has loaded have read their limits: other limits need another template.
        template = self._templates.get(_key(limits))
        if template is not None and template.has_ended():
            self._dismiss(limits)
            template = None
        if template is None:
            template = self._templates[_key(limits)] = Template(limits)
        return template

    def _dismiss(self, limits: dict[str, str]) -> None:
        template = self._templates.pop(_key(limits), None)
        if template is not None:
            template.hang_up()
            template.wait(0.0)

    def _refill(self, template: Template) -> None:
        spares = _spare_count(sharers()) if self._spares is None else self._spares
        while len(template.spares) < spares:
            spare = template.fork()
            self._spare_lifelines.add(spare.socket)
            template.spares.append(spare)

    def _hire_from(self, context: BaseContext, order: Order) -> Hired:
        ours, theirs = socket.socketpair()
        self._spare_lifelines.add(ours)
        report = _core.Descriptor(file_in_memory("whichever-crash"))
        configuration = _configuration(order)
        try:
            with theirs:
                process: BaseProcess = context.Process(  # type: ignore[attr-defined]  # every real context has it
                    target=run_worker,
                    args=(theirs, order.initializer, order.initargs),
                    name=configuration["name"],
                )
                process.start()
            configuration.update(_environment(thread_limits(order.inner_threads)))
            send_configuration(ours, configuration, [*order.fds, report.fileno()])
        except BaseException:
            ours.close()
            report.close()
            raise
        return Hired(new_token(), self._lifeline(ours), process, process.pid, report)

    def _lifeline(self, sock: socket.socket) -> _core.Descriptor:
        lifeline = _core.Descriptor(sock.detach())
        self._lifelines.add(lifeline)
        return lifeline

    def close(self) -> None:
        """End templates and spares; the crew may be used again afterwards."""
        with self._lock:
            templates = list(self._templates.values())
            self._templates.clear()
        for template in templates:
            template.hang_up()
        end = time.monotonic() + _EXIT_SECONDS
        for template in templates:
            template.wait(end - time.monotonic())

    def after_fork(self) -> None:
        """Give up, in a forked copy of the process, what is the original's."""
        for template in self._templates.values():
            template.forget()
        for lifeline in (*self._lifelines, *self._spare_lifelines):  # or workers would live as long as we do
            lifeline.close()
        self._forget()

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._templates: dict[frozenset[tuple[str, str]], Template] = {}
        self._lifelines: Living[_core.Descriptor] = Living()
        self._spare_lifelines: Living[socket.socket] = Living()


def _key(limits: dict[str, str]) -> frozenset[tuple[str, str]]:
    return frozenset(limits.items())


def refuse_recursion() -> None:
    """Stop a worker whose import of a task's module starts workers in turn, before it goes round for ever.

    Raises:
        EngineError: This is such a worker.
    """
    if loading:
        msg = (
            "a worker process imported a module that starts a process pool at its top level; "
            'put that call under `if __name__ == "__main__":` or in a function'
        )
        raise EngineError(msg)


def _configuration(order: Order) -> dict[str, Any]:
    """Return what the worker is told: how the caller looks now, and what the pool says."""
    try:
        folder = os.getcwd()  # noqa: PTH109 - as text, it is sent
    except OSError:
        folder = ""
    return {
        "folder": folder,
        "path": search_path(),
        "argv": [str(word) for word in sys.argv],
        "log_levels": dump_levels(),
        "modules": order.modules,
        "authkey": bytes(mp_process.current_process().authkey),
        "cores": sorted(os.sched_getaffinity(os.getpid())) if hasattr(os, "sched_getaffinity") else None,
        "umask": _umask(),
        **order.configuration,
    }


def _environment(limits: dict[str, str]) -> dict[str, Any]:
    return {"environ": os.environ | limits, "inner_limits": limits}


def _umask() -> int | None:
    """Return the mask for new files; None where it can be asked only by changing it, which other threads would see."""
    try:
        with open("/proc/self/status") as status:  # noqa: PTH123 - pathlib is slower
            for line in status:
                if line.startswith("Umask:"):
                    return int(line.split()[1], 8)
    except OSError:
        pass
    return None


@functools.cache
def _spare_count(_sharers: int) -> int:
    return min(cores_left(), _MAX_SPARES)


@functools.cache
def _is_installed(name: str) -> bool:
    """Say whether a module belongs to an installed package: only these stay what they are between pools."""
    top = name.partition(".")[0]
    if top in sys.stdlib_module_names:
        return True
    try:
        spec = sys.modules[top].__spec__ if top in sys.modules else importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return False
    if spec is None or not spec.origin:
        return False
    paths = sysconfig.get_paths()
    folders = [Path(paths[kind]) for kind in ("purelib", "platlib")]
    return any(folder in Path(spec.origin).parents for folder in folders)


_crews: weakref.WeakSet[Crew] = weakref.WeakSet()


@atexit.register  # pools, which register later, end before
def _close_all() -> None:
    with contextlib.suppress(KeyboardInterrupt):  # all is over but this, and templates end with us
        for one in list(_crews):
            one.close()


def _forget_all() -> None:
    for one in list(_crews):
        one.after_fork()


os.register_at_fork(after_in_child=_forget_all)
crew = Crew()
"""The one of all pools that have none of their own."""
