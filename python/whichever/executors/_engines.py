"""Every engine by its name."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from whichever.errors import EngineUnavailableError
from whichever.executors._async import AsyncEngine
from whichever.executors._interpreters import InterpretersEngine
from whichever.executors._processes import ProcessesEngine
from whichever.executors._serial import SerialEngine
from whichever.executors._threads import ThreadsEngine

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from whichever._types import EngineName
    from whichever.executors._contract import Engine

ENGINES: Mapping[EngineName, type[Engine]] = MappingProxyType(
    {
        engine.name: engine
        for engine in (SerialEngine, ThreadsEngine, AsyncEngine, InterpretersEngine, ProcessesEngine)
    }
)
"""Every engine by its name, the simplest first; ask ``unavailable()`` before use."""


def open_engine(name: EngineName, workers: int, modules: Sequence[str] = ()) -> Engine:
    """Return the engine, opened: its workers have started.

    Args:
        name: The engine's name.
        workers: Threads, interpreters or processes; for ``async`` the tasks in flight at once.
        modules: Modules that the tasks import; fresh interpreters load them first.

    Raises:
        EngineUnavailableError: The engine does not exist here, or one of `modules` does not load in it.
        EngineError: The engine could not be started.
    """
    if reason := ENGINES[name].unavailable():
        raise EngineUnavailableError(reason)
    engine = ENGINES[name](workers, modules=modules)
    engine.open()
    return engine
