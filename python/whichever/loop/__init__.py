"""An event loop for asyncio with its hot half in native code, and `run` to use it."""

from __future__ import annotations

from whichever.loop._event_loop import EventLoop, new_event_loop, run

__all__ = ["EventLoop", "new_event_loop", "run"]
