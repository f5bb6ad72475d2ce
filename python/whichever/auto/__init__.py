"""The auto room: a pool that measures its tasks, chooses the engine, runs them there, and changes its mind."""

from __future__ import annotations

from whichever.auto._decision import Decision
from whichever.auto._pool import Pool

__all__ = ["Decision", "Pool"]
