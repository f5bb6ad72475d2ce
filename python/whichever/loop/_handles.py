"""What handles look like: as asyncio's own."""

from __future__ import annotations

import inspect
from asyncio import format_helpers
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from whichever._core import Handle

_KNOWS_DEBUG = "debug" in inspect.signature(format_helpers._format_callback_source).parameters


def describe_call(handle: Handle) -> str:
    """Say what a handle calls, and where that is defined."""
    options: dict[str, Any] = {"debug": handle._source_traceback is not None} if _KNOWS_DEBUG else {}
    return str(format_helpers._format_callback_source(handle._callback, handle._args or (), **options))


def describe(handle: Handle) -> str:
    """Make the representation of a handle."""
    if handle._repr is not None:
        return handle._repr
    parts = [handle.__class__.__name__]
    if handle._cancelled:
        parts.append("cancelled")
    when = getattr(handle, "_when", None)
    if when is not None:
        parts.append(f"when={when}")
    if handle._callback is not None:
        parts.append(describe_call(handle))
    if handle._source_traceback:
        frame = handle._source_traceback[-1]
        parts.append(f"created at {frame[0]}:{frame[1]}")
    return f"<{' '.join(parts)}>"
