"""The command line: reads arguments, asks the advisor, prints. It measures and decides nothing itself.

Standard output carries the answer and nothing else; progress and errors go to standard error. Exit codes:
0 an answer was given, 1 none could be given, 2 the command line was wrong, 130 interrupted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that `argv` names (default: the process's own arguments) and return the exit code."""
    # Workers that run a job of the demonstration load this room too, and never read a command line.
    from whichever.cli._main import main as read_and_run  # noqa: PLC0415

    return read_and_run(argv)
