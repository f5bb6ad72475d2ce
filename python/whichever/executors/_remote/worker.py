"""A sub-interpreter's worker: reads tasks from its descriptor, runs them, writes how each ended.

Messages in: RUN (the function, if it is another one than before, and where to find modules), TASKS (items).
Out: a greeting, then one reply for each TASKS message. The worker ends at the end of its input.
"""

from __future__ import annotations

import contextlib
import sys
import time
from typing import TYPE_CHECKING, Any

from .frames import Inbox, reader, send
from .loading import load_modules
from .output import flush_streams
from .payload import dump, dump_error, is_plain, load

if TYPE_CHECKING:
    from collections.abc import Iterable

RUN, TASKS = 0, 1
DONE, UNLOADABLE = 0, 1  # kinds of reply
OK, RAISED = 0, 1  # flags of tasks in a reply


class Worker:
    """One worker's state between messages.

    Args:
        fd: A stream socket, blocking; whoever made it closes it.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._fn: Any = None
        self._unloadable: bytes | None = None
        self._deadline: float | None = None
        self._by_value: tuple[str, ...] = ()

    def serve(self, modules: list[str]) -> None:
        """Load `modules`, greet, then run what comes until the input ends."""
        inbox, read_into = Inbox(), reader(self._fd)
        with contextlib.suppress(OSError, EOFError):
            send(self._fd, [dump((load_modules(modules),))])
            while True:
                self._handle(*inbox.read(read_into))

    def _handle(self, meta: memoryview, *blobs: memoryview) -> None:
        kind, *rest = load(meta)
        if kind == RUN:
            self._prepare(blobs, *rest)
        else:
            send(self._fd, self._reply(blobs, *rest))

    def _prepare(
        self,
        blobs: tuple[memoryview, ...],
        deadline: float | None,
        names: tuple[str, ...],
        path: list[str],
    ) -> None:
        self._deadline = deadline
        sys.path[:] = path
        self._forbid(names)
        if blobs:
            self._unloadable = None
            try:
                self._fn = load(blobs[0])
            except BaseException as error:  # noqa: BLE001 - importing the task's module may raise anything
                self._unloadable = dump_error(error)

    def _forbid(self, names: tuple[str, ...]) -> None:
        """Make modules whose code is running at the caller's unimportable: it would run the program again."""
        for name in set(self._by_value) - set(names):
            if sys.modules.get(name, self) is None:
                del sys.modules[name]
        for name in names:
            sys.modules.setdefault(name, None)  # type: ignore[arg-type]  # None is how the import system says no
        self._by_value = names

    def _reply(self, blobs: tuple[memoryview, ...], bulk: bool) -> list[bytes]:  # noqa: FBT001 - a field of the message
        if self._unloadable is not None:
            return [dump((UNLOADABLE,)), self._unloadable]
        start = time.perf_counter()
        flags, values = self._run(load(blobs[0]) if bulk else blobs, loaded=bulk)
        seconds = time.perf_counter() - start
        flush_streams()
        if is_plain(values) and not any(flags):
            return [dump((DONE, bytes(flags), True, seconds)), dump(values)]
        replies = [self._dump_result(flags, index, value) for index, value in enumerate(values)]
        return [dump((DONE, bytes(flags), False, seconds)), *replies]

    def _run(self, items: Iterable[Any], *, loaded: bool) -> tuple[bytearray, list[Any]]:
        flags, values = bytearray(), []
        for item in items:
            if self._deadline is not None and time.monotonic() >= self._deadline:
                break
            try:
                values.append(self._fn(item if loaded else load(item)))
                flags.append(OK)
            except BaseException as error:  # noqa: BLE001 - SystemExit of a task ends the task, not the worker
                values.append(error)
                flags.append(RAISED)
        return flags, values

    @staticmethod
    def _dump_result(flags: bytearray, index: int, value: Any) -> bytes:
        if flags[index] == RAISED:
            return dump_error(value)
        try:
            return dump(value)
        except Exception as error:  # noqa: BLE001 - the value's own code runs here and may raise anything
            flags[index] = RAISED
            return dump_error(error)
