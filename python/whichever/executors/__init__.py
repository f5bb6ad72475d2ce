"""The executors room: one way to run tasks per engine, all behind the same small contract; and the pools."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from whichever.executors._async_pool import AsyncPool
    from whichever.executors._contract import Engine, Outcome
    from whichever.executors._engines import ENGINES, open_engine
    from whichever.executors._future import Future
    from whichever.executors._interpreter_pool import InterpreterPool
    from whichever.executors._pool import ProcessPool
    from whichever.executors._serial_pool import SerialPool
    from whichever.executors._share import share
    from whichever.executors._thread_pool import ThreadPool

__all__ = [
    "ENGINES",
    "AsyncPool",
    "Engine",
    "Future",
    "InterpreterPool",
    "Outcome",
    "ProcessPool",
    "SerialPool",
    "ThreadPool",
    "open_engine",
    "share",
]

_HOME = {
    "ENGINES": "_engines",
    "AsyncPool": "_async_pool",
    "Engine": "_contract",
    "Future": "_future",
    "InterpreterPool": "_interpreter_pool",
    "Outcome": "_contract",
    "ProcessPool": "_pool",
    "SerialPool": "_serial_pool",
    "ThreadPool": "_thread_pool",
    "open_engine": "_engines",
    "share": "_share",
}
"""Where each name lives. A program that wants a pool does not load asyncio and every engine for it."""


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        msg = f"module 'whichever.executors' has no attribute {name!r}"
        raise AttributeError(msg)
    value = getattr(importlib.import_module(f"whichever.executors.{_HOME[name]}"), name)
    globals()[name] = value
    return value
