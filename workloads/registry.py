"""What a workload is, and where all of them are found.

Guarantees: reading the registry imports no optional library and starts nothing; `Workload.make` prepares
fresh items and fresh state at every call, and leaves no file, process or socket behind when its context ends.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    Job: TypeAlias = tuple[Callable[[Any], Any], list[Any]]
    Prepared: TypeAlias = Iterator[Job]

Textbook: TypeAlias = Literal["serial", "threads", "async", "processes"]

TAGS = {
    "async": "a coroutine function",
    "network": "talks to a server",
    "disk": "reads or writes files",
    "child": "starts a child process",
    "native": "runs native code without the GIL",
    "threads": "brings threads of its own",
    "payload": "large arguments or results",
    "state": "writes or carries state that not every engine keeps",
    "tiny": "microseconds a task",
    "long": "seconds a task",
    "uneven": "tasks of very different length",
}

_DISTRIBUTIONS = {"PIL": "Pillow", "faiss": "faiss-cpu", "sklearn": "scikit-learn"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One task with its items and what is known of it.

    Attributes:
        name: Unique; also names the preparer ``prepare_NAME`` in the room.
        room: The module of ``workloads.tasks`` that holds it.
        known: What is known of it, in words.
        textbook: The engine that the rule of thumb would choose.
        plausible: Says whether a result can be right, given the item before and the result.
        tags: Words to select by: `TAGS`.
        breaks: Engines that would change what the program means, hence must be excluded.
        requires: Libraries it imports, by import name.
        programs: Executables it needs.
    """

    name: str
    room: str
    known: str
    textbook: Textbook
    plausible: Callable[[Any, Any], bool]
    tags: frozenset[str] = frozenset()
    breaks: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()

    def missing(self) -> tuple[str, ...]:
        """Name the libraries (as they are installed) and programs that are not here."""
        libraries = [name for name in self.requires if importlib.util.find_spec(name) is None]
        programs = [name for name in self.programs if shutil.which(name) is None]
        return (*(_DISTRIBUTIONS.get(name, name) for name in libraries), *programs)

    def make(self) -> AbstractContextManager[Job]:
        """Prepare the task: ``with workload.make() as (fn, items)``.

        Servers and files live as long as the context. A coroutine function is for the async engine.

        Raises:
            ModuleNotFoundError: A library is missing; `missing` names it.
        """
        tasks = importlib.import_module(f"workloads.tasks.{self.room}")
        prepared: AbstractContextManager[Job] = getattr(tasks, f"prepare_{self.name}")()
        return prepared


def workloads() -> dict[str, Workload]:
    """Return every workload by its name, in the order of the entries."""
    from workloads.entries import ENTRIES  # noqa: PLC0415 - the entries are made of this module's class

    found = {entry.name: entry for entry in ENTRIES}
    if len(found) != len(ENTRIES):
        msg = "two workloads share a name"
        raise ValueError(msg)
    return found
