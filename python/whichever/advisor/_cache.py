"""The user's cache folder: the machine's costs, and how every verified forecast turned out."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_RECORDS_KEPT = 2000
"""Verified verdicts kept; older ones go when the file is twice as long."""


def folder() -> Path:
    """Name the cache folder: $WHICHEVER_CACHE, else $XDG_CACHE_HOME/whichever, else ~/.cache/whichever."""
    if chosen := os.environ.get("WHICHEVER_CACHE"):
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "whichever"


def load(name: str) -> dict[str, Any] | None:
    """Read a cached JSON object; None when it is missing or damaged, which calibration then repairs."""
    try:
        value = json.loads((folder() / name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def save(name: str, value: dict[str, Any]) -> bool:
    """Write a JSON object whole or not at all; a read-only home is no error, the value is just not kept."""
    try:
        folder().mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=folder(), prefix=f".{name}.")
    except OSError:
        return False
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(value, file, indent=1)
        Path(temporary).replace(folder() / name)
    except OSError:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        return False
    return True


def append_record(name: str, record: Mapping[str, Any]) -> None:
    """Add one line to a file of JSON lines, in one write; drop the oldest half when it has grown too long."""
    path = folder() / name
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        line = (json.dumps(record) + "\n").encode()
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(handle, line)
        finally:
            os.close(handle)
        lines = path.read_bytes().splitlines(keepends=True)
        if len(lines) > 2 * _RECORDS_KEPT:
            shorter = path.with_suffix(f".{os.getpid()}")
            shorter.write_bytes(b"".join(lines[-_RECORDS_KEPT:]))
            shorter.replace(path)


def records(name: str) -> list[dict[str, Any]]:
    """Read a file of JSON lines, skipping damaged ones."""
    try:
        lines = (folder() / name).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        with contextlib.suppress(ValueError):
            value = json.loads(line)
            if isinstance(value, dict):
                found.append(value)
    return found
