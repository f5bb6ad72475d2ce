"""``%which f(items)`` in IPython and notebooks.

Assumes nothing but an IPython shell; IPython is imported when the extension is loaded, never before.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from whichever.advisor._verdict import Verdict

USAGE = """\
%which [options] f(items)

Measure f on some of the items and say which engine runs f over all of them fastest.
The line reads like a call, but each item is one call: %which f(items) asks about
[f(item) for item in items]. `verdict = %which f(items)` keeps the verdict.

Options:
  -v, --verify       run every engine on the same items and show the measured times
  --workers N        the number of workers to forecast for
  --count N          how many items there are, where `items` has no length
  --engines A,B      the engines to compare
"""


class Shell(Protocol):
    """What is needed of an IPython shell."""

    def ev(self, expr: str, /) -> Any:
        """Evaluate an expression where the user types."""

    def register_magic_function(
        self, func: Callable[[str], object], /, *, magic_kind: str, magic_name: str
    ) -> None:
        """Make `func` known as a magic."""


class _MagicLineError(ValueError):
    """The line is not what %which understands; the message says what to write instead."""


@dataclass(frozen=True, slots=True)
class Question:
    """What a line asks.

    Attributes:
        fn: Source of the function.
        items: Source of the iterable.
        options: Keyword arguments for `whichever.which`.
    """

    fn: str
    items: str
    options: dict[str, Any] = field(default_factory=dict)


def load_ipython_extension(shell: Shell) -> None:
    """Register ``%which``; called by ``%load_ext whichever``."""
    from IPython.core.error import UsageError  # noqa: PLC0415 - an optional package

    def which(line: str) -> Verdict | None:
        try:
            question = read_line(line)
        except _MagicLineError as error:
            raise UsageError(str(error)) from None
        return ask(question, shell.ev)

    which.__doc__ = USAGE
    shell.register_magic_function(which, magic_kind="line", magic_name="which")


def ask(question: Question, evaluate: Callable[[str], Any]) -> Verdict:
    """Ask `whichever.which` about a line, with `evaluate` to look names up where the user types."""
    whichever = import_module("whichever")  # not before it is complete: the package imports this room
    fn, items = evaluate(question.fn), evaluate(question.items)
    verdict: Verdict = whichever.which(fn, items, **question.options)
    return verdict


def read_line(line: str) -> Question:
    """Take a line apart into options and a call with one argument.

    Raises:
        ValueError: The line is something else; the message says what to write instead.
    """
    options, rest = _read_options(line)
    source = rest.strip().rstrip(";").strip()
    if not source:
        msg = "nothing to measure: write %which f(items)"
        raise _MagicLineError(msg)
    try:
        call = ast.parse(source, mode="eval").body
    except SyntaxError as error:
        msg = f"not a Python expression ({error.msg}): write %which f(items)"
        raise _MagicLineError(msg) from None
    if not isinstance(call, ast.Call):
        msg = f"{source!r} is not a call: write %which f(items), with the function and its items"
        raise _MagicLineError(msg)
    fn = ast.unparse(call.func)
    if call.keywords:
        names = ", ".join(f"{word.arg}=..." if word.arg else "**..." for word in call.keywords)
        msg = (
            f"every call gets one item and nothing else: write %which functools.partial({fn}, {names})(items)"
        )
        raise _MagicLineError(msg)
    if len(call.args) != 1 or isinstance(call.args[0], ast.Starred):
        msg = f"write one iterable between the brackets, %which {fn}(items): each item is one call of {fn}"
        raise _MagicLineError(msg)
    return Question(fn, ast.unparse(call.args[0]), options)


def _read_options(line: str) -> tuple[dict[str, Any], str]:
    """Read the options in front of the call; the rest of the line is Python and not for us to split."""
    options: dict[str, Any] = {}
    rest = line.strip()
    while rest.startswith("-"):
        word, _, rest = rest.partition(" ")
        name, equals, value = word.partition("=")
        if name in ("-v", "--verify"):
            options["verify"] = True
        elif name in ("--workers", "--count", "--engines"):
            if not equals:
                value, _, rest = rest.lstrip().partition(" ")
            options[name.removeprefix("--")] = _option_value(name, value)
        else:
            msg = f"unknown option {name}: there are --verify, --workers N, --count N and --engines A,B"
            raise _MagicLineError(msg)
        rest = rest.lstrip()
    return options, rest


def _option_value(name: str, value: str) -> int | tuple[str, ...]:
    if name == "--engines":
        return tuple(filter(None, value.split(",")))
    if not value.isascii() or not value.isdigit() or int(value) < 1:
        msg = f"{name} takes a whole number from 1 on, not {value!r}"
        raise _MagicLineError(msg)
    return int(value)
