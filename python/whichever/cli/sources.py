"""Where the items come from: files that match a pattern, an iterable in a module, the lines of a file."""

from __future__ import annotations

import glob
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from whichever.cli.problems import CommandLineError, in_one_line
from whichever.cli.target import find


def files_matching(pattern: str) -> list[str]:
    """Return the files that `pattern` matches, in sorted order; ``**`` reaches into folders.

    Raises:
        CommandLineError: No file matches.
    """
    expanded = str(Path(pattern).expanduser())
    # Not Path.glob: it refuses absolute patterns.
    found = glob.glob(expanded, recursive=True)  # noqa: PTH207
    files = sorted(path for path in found if Path(path).is_file())
    if not files:
        msg = f"--each {pattern}: no file matches"
        raise CommandLineError(msg)
    return files


def iterable_named(spec: str) -> Iterable[Any]:
    """Return the iterable that ``MODULE:NAME`` names, or the one it gives when called without arguments.

    Raises:
        CommandLineError: There is no such name, the call raises, or the outcome cannot be iterated over.
    """
    found = find(spec, "ITERABLE")
    if not isinstance(found, type) and _iterable(found):
        return found  # type: ignore[no-any-return] # _iterable has just checked
    if callable(found):
        try:
            found = found()
        except (Exception, SystemExit) as error:  # noqa: BLE001 - it is anyone's code
            msg = f"--items {spec}: calling it without arguments failed: {in_one_line(error)}"
            raise CommandLineError(msg) from None
    if not _iterable(found):
        msg = f"--items {spec}: a {type(found).__name__} cannot be iterated over"
        raise CommandLineError(msg)
    return found  # type: ignore[no-any-return] # as above


def _iterable(candidate: object) -> bool:
    # Old-style sequences have only __getitem__, which isinstance(..., Iterable) does not see.
    return isinstance(candidate, Iterable) or hasattr(type(candidate), "__getitem__")


def lines_of(file: str) -> list[str]:
    """Return the lines of a UTF-8 text file without their line ends.

    Raises:
        CommandLineError: The file cannot be read, is not UTF-8, or has no line.
    """
    try:
        lines = Path(file).expanduser().read_text(encoding="utf-8").splitlines()
    except OSError as error:
        msg = f"--lines {file}: {error.strerror or error}"
        raise CommandLineError(msg) from None
    except UnicodeDecodeError as error:
        msg = f"--lines {file}: not UTF-8 text (byte {error.start})"
        raise CommandLineError(msg) from None
    if not lines:
        msg = f"--lines {file}: the file has no lines"
        raise CommandLineError(msg)
    return lines
