"""The user's cache folder: costs of the machine, outcomes of verified forecasts, decisions of pools.

A pool looks here before its first task, mostly in vain: what only those need who find something is imported then.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_RECORDS_KEPT = 2000
"""Verified verdicts kept; older ones go when the file is twice as long."""


def folder() -> str:
    """Name the cache folder: $WHICHEVER_CACHE, else $XDG_CACHE_HOME/whichever, else ~/.cache/whichever.

    Raises:
        FileNotFoundError: The user has no home.
    """
    if chosen := os.environ.get("WHICHEVER_CACHE"):
        return chosen
    if base := os.environ.get("XDG_CACHE_HOME"):
        return os.path.join(base, "whichever")
    home = os.path.expanduser("~")
    if home == "~":
        msg = "this user has no home folder to keep anything in: set WHICHEVER_CACHE"
        raise FileNotFoundError(msg)
    return os.path.join(home, ".cache", "whichever")


def load(name: str) -> dict[str, Any] | None:
    """Read a cached JSON object; None when it is missing or damaged, which whoever wrote it then repairs."""
    try:
        with open(os.path.join(folder(), name), "rb") as file:
            text = file.read()
    except OSError:
        return None
    import json  # noqa: PLC0415 - see above

    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def save(name: str, value: dict[str, Any]) -> bool:
    """Write a JSON object whole or not at all; a read-only home is no error, the value is just not kept."""
    import json  # noqa: PLC0415 - see above
    import tempfile  # noqa: PLC0415

    text = json.dumps(value, indent=1)
    try:
        path = os.path.join(folder(), name)
        place, last = os.path.split(path)
        os.makedirs(place, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=place, prefix=f".{last}.")
    except OSError:
        return False
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        return False
    return True


def append_record(name: str, record: Mapping[str, Any]) -> None:
    """Add one line to a file of JSON lines, in one write; drop the oldest half when it has grown too long."""
    import json  # noqa: PLC0415 - see above

    line = (json.dumps(record) + "\n").encode()
    with contextlib.suppress(OSError):
        path = os.path.join(folder(), name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(handle, line)
        finally:
            os.close(handle)
        with open(path, "rb") as file:
            lines = file.readlines()
        if len(lines) > 2 * _RECORDS_KEPT:
            shorter = f"{path}.{os.getpid()}"
            with open(shorter, "wb") as file:
                file.writelines(lines[-_RECORDS_KEPT:])
            os.replace(shorter, path)


def records(name: str) -> list[dict[str, Any]]:
    """Read a file of JSON lines, skipping damaged ones."""
    import json  # noqa: PLC0415 - see above

    try:
        with open(os.path.join(folder(), name), "rb") as file:
            lines = file.readlines()
    except OSError:
        return []
    found = []
    for line in lines:
        with contextlib.suppress(ValueError):
            value = json.loads(line)
            if isinstance(value, dict):
                found.append(value)
    return found
