"""Threads, processes or async: whichever is faster."""

from __future__ import annotations

from whichever._core import __version__

__all__ = ["__version__"]
