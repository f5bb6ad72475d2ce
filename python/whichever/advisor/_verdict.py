"""The verdict that users hold: the plain data, and how it is shown and saved.

Guarantee: `save` leaves either the whole new file or what was there before. Rich and Jinja are imported when
something is drawn, never by ``import whichever``.
"""

from __future__ import annotations

import os
import secrets
import shutil
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whichever._types import VerdictData
from whichever.advisor import _units as units
from whichever.advisor import _wording as wording

if TYPE_CHECKING:
    from rich.console import Group

_WIDEST = 100
"""Longer lines than this are hard to read, however wide the terminal."""

_NARROWEST = 40


class Verdict(VerdictData):
    """Which engine to use, how much faster it will be, and why.

    ``print(verdict)`` is a table, ``verdict.save("x.html")`` a report, ``verdict.save("x.json")`` its data;
    the attributes are those of `VerdictData`.
    """

    def table(self, *, width: int | None = None, color: bool | None = None) -> str:
        """Draw the verdict as a table of about 25 lines.

        Args:
            width: Columns; by default the terminal's, at most 100, or 80 where the output is no terminal.
            color: Whether to use escape sequences; by default when the output is a terminal that
                understands them and ``NO_COLOR`` is not set. If in doubt, leave both.
        """
        from whichever.advisor._table import Look, render  # noqa: PLC0415 - rich costs start-up time

        terminal = _is_terminal()
        if width is None:
            width = min(shutil.get_terminal_size().columns, _WIDEST) if terminal else 80
        if color is None:
            color = terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
        return render(self, Look(width=max(width, _NARROWEST), color=color, encoding=encoding))

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the verdict as a report (``.html``) or as figures (``.json``), and return the file's path.

        The file appears whole or not at all. Sampled items and results are written by their repr, shortened.

        Args:
            path: Where to; the suffix decides what is written. An existing file is replaced.

        Raises:
            ValueError: The suffix is neither ``.html`` nor ``.json``.
            OSError: The folder is missing or cannot be written to; the message names it.
        """
        target = Path(path)
        match target.suffix.lower():
            case ".html" | ".htm":
                from whichever.advisor._report import page  # noqa: PLC0415 - Jinja costs start-up time

                text = page(self)
            case ".json":
                from whichever.advisor._schema import dumps  # noqa: PLC0415 - only saving needs it

                text = dumps(self)
            case suffix:
                msg = f"cannot save a verdict as {suffix or 'a file without a suffix'!r}: use .html or .json"
                raise ValueError(msg)
        _write_whole(target, text)
        return target

    def __str__(self) -> str:
        return self.table()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} on {units.clean(self.name)}: {wording.headline(self)}>"

    def __rich__(self) -> Group:
        """Hand rich the table, for ``rich.print(verdict)``."""
        from whichever.advisor._table import layout  # noqa: PLC0415 - rich costs start-up time

        return layout(self, _WIDEST)

    def _repr_html_(self) -> str:
        from whichever.advisor._report import fragment  # noqa: PLC0415 - Jinja costs start-up time

        return fragment(self)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # noqa: FBT001 - IPython's own signature
        printer.text(repr(self) if cycle else str(self))


def _is_terminal() -> bool:
    try:
        return sys.stdout.isatty()
    except (AttributeError, ValueError):  # no standard output, or a closed one
        return False


def _write_whole(target: Path, text: str) -> None:
    """Write beside the target and rename, so that nobody ever reads half a file."""
    real = Path(os.path.realpath(target))
    part = real.with_name(f".{real.name}.{secrets.token_hex(4)}.part")
    try:
        try:
            with part.open("x", encoding="utf-8", newline="\n") as file:
                file.write(text)
            part.replace(real)
        finally:
            with suppress(OSError):
                part.unlink()
    except OSError as error:
        why = f"{error.strerror} ({str(real.parent)!r} must be a folder that can be written to)"
        msg = f"cannot save the verdict to {str(target)!r}: {why}"
        raise type(error)(error.errno, msg) from error
