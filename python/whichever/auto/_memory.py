"""What was decided for a function is remembered across runs: the next one starts with it.

A file for each function, in a folder inside the user's cache folder: a reader reads one small file, and of two programs
that write at once the later one wins, for that function alone. What is damaged, old, or belongs to other code or
another machine counts as never written. A folder that cannot be written is no error.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import math
import os
import sys
import threading
import time
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from whichever import _cache
from whichever._types import ENGINE_NAMES
from whichever.auto._function_key import digest, function_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from whichever._types import EngineName

_FOLDER = "decisions"
_FORM = 1
"""Version of the files: raise it when the fields of a recollection or what they mean change."""
_MOST = 500  # files, and notes in memory; the oldest go
_DAYS = 30
_DAY_SECONDS = 86_400.0
_OFF = frozenset({"off", "0", "no", "false"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Recollection:
    """What was learnt of a function when it last ran.

    Attributes:
        engine: The engine that was chosen.
        workers: How many workers it had.
        tasks: How many tasks ran.
        wall: Seconds that one task took when tasks ran one after another.
        ledger: The meter's ledger of a task, as plain values that JSON can hold.
        payload: Its payload, likewise.
        excluded: Engine names and why they would change what the program means.
        seconds: Seconds that the run took.
        when: When it ended, in seconds since the epoch.
    """

    engine: EngineName
    workers: int
    tasks: int
    wall: float
    ledger: Mapping[str, Any]
    payload: Mapping[str, Any]
    excluded: Mapping[str, str]
    seconds: float
    when: float


class Memory:
    """What a pool remembers, and asks to be remembered. All pools of a process have the same notes.

    Args:
        enabled: Whether to remember at all. $WHICHEVER_MEMORY set to ``off`` has the last word.
    """

    def __init__(self, enabled: bool = True) -> None:  # noqa: FBT001, FBT002 - its one argument
        self.enabled = enabled and os.environ.get("WHICHEVER_MEMORY", "").lower() not in _OFF

    def recall(self, fn: Callable[..., Any]) -> Recollection | None:
        """Return what is known of `fn` on this machine; None when nothing is, or nothing that still holds."""
        name = _file_name(fn) if self.enabled else None
        if name is None:
            return None
        found = _notes.find(name) or _read(name)
        return found if found is not None and _is_fresh(found.when) else None

    def note(self, fn: Callable[..., Any], recollection: Recollection) -> None:
        """Remember `recollection` of `fn`, in memory until `write` or the end of the program."""
        name = _file_name(fn) if self.enabled else None
        if name is not None:
            _notes.add(name, getattr(fn, "__qualname__", None) or type(fn).__qualname__, recollection)

    def write(self) -> None:
        """Write what was noted since the last time, each function's last note. Never raises for want of a place."""
        if self.enabled:
            _notes.write()


def kept() -> int:
    """Return how many functions are remembered in files."""
    return sum(1 for entry in _entries() if entry.name.endswith(".json"))


def forget() -> int:
    """Forget all functions, written or not; return how many files there were."""
    _notes.clear()
    count = kept()
    for entry in _entries():
        _remove(entry)
    return count


class _Notes:
    """The notes of this process, by file name; safe to use from every thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, Recollection] = {}  # the least recently noted first
        self._unwritten: dict[str, str] = {}  # the functions' names, for who reads the files
        self._at_exit = False

    def find(self, name: str) -> Recollection | None:
        with self._lock:
            return self._known.get(name)

    def add(self, name: str, function: str, recollection: Recollection) -> None:
        with self._lock:
            self._known.pop(name, None)
            self._known[name] = recollection
            self._unwritten[name] = function
            if len(self._known) > _MOST:
                oldest = next(iter(self._known))
                del self._known[oldest]
                self._unwritten.pop(oldest, None)
            if not self._at_exit:
                self._at_exit = True
                atexit.register(self.write)

    def write(self) -> None:
        with self._lock:
            unwritten, self._unwritten = self._unwritten, {}
            documents = {
                name: {"form": _FORM, "function": function, "recollection": _plain(self._known[name])}
                for name, function in unwritten.items()
            }
        if not documents:
            return
        if all(_cache.save(f"{_FOLDER}/{name}", document) for name, document in documents.items()):
            _tidy()

    def clear(self) -> None:
        with self._lock:
            self._known.clear()
            self._unwritten.clear()

    def after_fork(self) -> None:
        """Leave, in a forked copy of the process, what is unwritten to the original."""
        self._lock = threading.Lock()  # another thread may have held it
        self._unwritten = {}


_notes = _Notes()


def _forget_unwritten() -> None:
    _notes.after_fork()


os.register_at_fork(after_in_child=_forget_unwritten)


def _plain(recollection: Recollection) -> dict[str, Any]:
    return {field.name: getattr(recollection, field.name) for field in fields(recollection)}


def _read(name: str) -> Recollection | None:
    document = _cache.load(f"{_FOLDER}/{name}")
    if document is None or document.get("form") != _FORM:
        return None
    try:
        found = Recollection(**document["recollection"])
    except (KeyError, TypeError):
        return None
    return found if _is_sound(found) else None


def _is_sound(found: Recollection) -> bool:
    """Say whether the values of a file are what they should be: it may be anybody's."""
    whole = all(type(number) is int and number > 0 for number in (found.workers, found.tasks))
    numbers = (found.wall, found.seconds, found.when)
    real = all(type(number) in (int, float) and math.isfinite(number) and number >= 0 for number in numbers)
    tables = all(isinstance(table, dict) for table in (found.ledger, found.payload, found.excluded))
    return found.engine in ENGINE_NAMES and whole and real and tables


def _is_fresh(when: float) -> bool:
    """Say whether it was noted in the last days; a clock that was ahead and has been set right does not count."""
    return -_DAY_SECONDS < time.time() - when < _DAYS * _DAY_SECONDS


def _file_name(fn: Callable[..., Any]) -> str | None:
    key = function_key(fn)
    if key is None:
        return None
    from whichever.executors._remote.sharers import sharers  # noqa: PLC0415 - a pool that runs has it

    gil: bool = getattr(sys, "_is_gil_enabled", lambda: True)()
    return f"{key}-{_machine_key(sharers(), gil)}.json"


@functools.cache
def _machine_key(sharers: int, gil: bool) -> str:  # noqa: FBT001 - a part of a key
    """Return what stands for this machine, interpreter and version, and for the share of the cores that is ours."""
    from whichever import _core  # noqa: PLC0415 - does not load in a sub-interpreter

    system = os.uname()
    facts = (
        system.sysname, system.release, system.machine, os.cpu_count(), _core.usable_cores()["cores"], sharers,
        sys.implementation.name, sys.version, sys.executable, gil, _core.__version__,
    )  # fmt: skip
    return digest(facts, 6)


def _tidy() -> None:
    """Remove old files, and the oldest of too many; among them what a killed writer left half done."""
    aged = []
    for entry in _entries():
        with contextlib.suppress(OSError):
            aged.append((entry.stat().st_mtime, entry))
    aged.sort(key=lambda pair: pair[0], reverse=True)
    for number, (when, entry) in enumerate(aged):
        if number >= _MOST or not _is_fresh(when):
            _remove(entry)


def _remove(entry: os.DirEntry[str]) -> None:
    with contextlib.suppress(OSError):  # another program was faster, or it is not ours
        os.unlink(entry.path)  # noqa: PTH108 - a path as text


def _entries() -> Iterator[os.DirEntry[str]]:
    """Give the files of the folder, half-written ones too; none where there is no folder."""
    with contextlib.suppress(OSError), os.scandir(f"{_cache.folder()}/{_FOLDER}") as entries:
        yield from list(entries)
