"""The commands and their options, and what becomes of errors and of Ctrl-C."""

from __future__ import annotations

import argparse
import os
import sys
from functools import partial
from typing import TYPE_CHECKING

import whichever
from whichever._types import ENGINE_NAMES
from whichever.cli import commands
from whichever.cli.problems import CommandLineError, place_of
from whichever.errors import WhicheverError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from whichever._types import EngineName

INTERRUPTED = 130
"""What a shell reports for a program that SIGINT ended: 128 + 2."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that `argv` names (default: the process's own arguments) and return the exit code."""
    options = _parse(argv)
    try:
        code: int = options.command(options)
        sys.stdout.flush()
    except CommandLineError as error:
        return _say(str(error), 2)
    except WhicheverError as error:
        # The message tells the cause; where it was raised is what the missing traceback would have added.
        place = place_of(error.__cause__) if error.__cause__ else None
        return _say(f"{error} ({place})" if place else str(error), 1)
    except KeyboardInterrupt:
        return _say("interrupted", INTERRUPTED)
    except BrokenPipeError:
        # The reader of standard output has gone (`| head`); the interpreter must not flush into it again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code


def _say(message: str, code: int) -> int:
    print(f"whichever: {message}", file=sys.stderr)  # noqa: T201 - a command line speaks to people
    return code


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = _parser()
    options, rest = parser.parse_known_args(argv)
    if rest and getattr(options, "each", None):
        parser.error(f"unexpected {' '.join(rest[:3])}: put the pattern after --each in quotes")
    if rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="whichever", description="Threads, processes or async: whichever is faster."
    )
    parser.add_argument("--version", action="version", version=f"whichever {whichever.__version__}")
    sub = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_try(sub)
    _add_machine(sub)
    _add_demo(sub)
    return parser


def _add_try(sub: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = sub.add_parser("try", help="measure a function on items and say which engine to use")
    parser.set_defaults(command=commands.try_function)
    parser.add_argument("function", metavar="MODULE:FUNCTION", help="the task; MODULE may be a file's path")
    source = parser.add_argument_group("items (one of these)").add_mutually_exclusive_group(required=True)
    source.add_argument("--each", metavar="GLOB", help="the paths of the files that match; quote it")
    source.add_argument(
        "--items", metavar="MODULE:ITERABLE", help="an iterable, or a function that returns one"
    )
    source.add_argument("--lines", metavar="FILE", help="the lines of a text file")
    parser.add_argument(
        "--count", type=_positive, metavar="N", help="how many items there are, where they have no length"
    )
    parser.add_argument(
        "--engines", type=_engines, metavar="A,B", help=f"only these of {', '.join(ENGINE_NAMES)}"
    )
    parser.add_argument("--workers", type=_positive, metavar="N", help="consider exactly this many workers")
    parser.add_argument(
        "--verify", action="store_true", help="run all items on every engine and show the measured times too"
    )
    parser.add_argument(
        "--html", type=partial(_file_named, ".html"), metavar="FILE", help="write a report page"
    )
    parser.add_argument("--json", type=partial(_file_named, ".json"), metavar="FILE", help="write the data")


def _add_machine(sub: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = sub.add_parser("machine", help="show the costs measured here and how good predictions were")
    parser.set_defaults(command=commands.show_machine)
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--recalibrate", action="store_true", help="measure the costs anew (about 3 s)")
    choice.add_argument(
        "--forget", action="store_true", help="forget which engines pools have chosen for which functions"
    )


def _add_demo(sub: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = sub.add_parser("demo", help="real jobs, each run on every engine: the textbook against a clock")
    parser.set_defaults(command=commands.run_demo)
    parser.add_argument(
        "--html", type=partial(_file_named, ".html"), metavar="FILE", default="whichever-demo.html",
        help="where the report goes (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--jobs", type=_names, metavar="NAME,...", help="only these; an unknown name lists them all"
    )
    parser.add_argument(
        "--no-verify", dest="verify", action="store_false", help="predict only; takes a third of the time"
    )


def _positive(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        msg = f"{text!r} is not a whole number above 0"
        raise argparse.ArgumentTypeError(msg)
    return number


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _engines(text: str) -> tuple[EngineName, ...]:
    wanted = _names(text)
    unknown = [name for name in wanted if name not in ENGINE_NAMES]
    if unknown or not wanted:
        msg = f"{', '.join(unknown) or 'nothing'} named; the engines are {', '.join(ENGINE_NAMES)}"
        raise argparse.ArgumentTypeError(msg)
    return tuple(name for name in ENGINE_NAMES if name in wanted)


def _file_named(suffix: str, text: str) -> str:
    # What is written must be what its name says.
    if not text.lower().endswith(suffix):
        msg = f"{text!r} does not end in {suffix}"
        raise argparse.ArgumentTypeError(msg)
    return text
