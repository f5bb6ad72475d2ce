"""Errors of the command line, and how any exception is told in one line without a traceback."""

from __future__ import annotations

import traceback
from pathlib import Path


class CommandLineError(Exception):
    """What was asked for cannot be had; the message says what and where. The exit code is 2."""


def in_one_line(error: BaseException) -> str:
    """Tell an exception with its type, its message and the place in the code that raised it."""
    text = " ".join(str(error).split())
    said = f"{type(error).__name__}: {text}" if text else type(error).__name__
    place = place_of(error)
    return f"{said} ({place})" if place else said


def place_of(error: BaseException) -> str | None:
    """Return FILE:LINE of the code that raised, or that could not be parsed; None when nobody knows."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    own = str(Path(__file__).parent)
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not frame.filename.startswith((own, "<frozen")):
            return f"{frame.filename}:{frame.lineno}"
    return None
