"""The event loops that are measured beside each other, by name."""

from __future__ import annotations

import asyncio
import importlib.util
from importlib import metadata

OURS = "whichever"
LOOPS = (OURS, "asyncio", "uvloop", "rloop")
RIVALS = ("uvloop", "rloop")


def new_loop(name: str) -> asyncio.AbstractEventLoop:
    """Make a loop."""
    if name == "asyncio":
        return asyncio.SelectorEventLoop()
    made: asyncio.AbstractEventLoop = importlib.import_module(name).new_event_loop()
    return made


def installed() -> list[str]:
    """List the loops that are there."""
    found = [name for name in LOOPS if importlib.util.find_spec(name)]
    if not hasattr(importlib.import_module(OURS), "new_event_loop"):
        found.remove(OURS)
    return found


def versions() -> dict[str, str]:
    """Give the versions of the rivals that are there."""
    return {name: metadata.version(name) for name in RIVALS if importlib.util.find_spec(name)}
