"""What each command does, once its arguments are read."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import whichever
from whichever.auto import _memory
from whichever.cli import sources, streams, target
from whichever.cli.problems import CommandLineError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable


def try_function(options: argparse.Namespace) -> int:
    """Measure the function that was named on the items that were named; print the verdict."""
    for file in (options.html, options.json):
        _check_writable(file)
    target.put_on_path(Path.cwd())
    with streams.stdout_on_stderr(), streams.ProgressLine(sys.stderr) as line:
        fn = target.find_function(options.function)
        items = _items(options)
        verdict = whichever.which(
            fn,
            items,
            count=options.count,
            engines=options.engines,
            workers=options.workers,
            verify=options.verify,
            progress=line.say,
        )
    print(verdict)  # noqa: T201 - the answer
    for file in filter(None, (options.html, options.json)):
        verdict.save(file)
    return 0


def show_machine(options: argparse.Namespace) -> int:
    """Print the machine's costs, how good predictions were on it, and how many decisions are remembered."""
    if options.forget:
        print(f"forgot the decisions for {_counted(_memory.forget())}")  # noqa: T201 - the answer
        return 0
    print(whichever.machine(recalibrate=options.recalibrate))  # noqa: T201 - the answer
    count = _memory.kept()
    way_out = "; forget them: whichever machine --forget" if count else ""
    print(f"remembers the decisions for {_counted(count)}{way_out}")  # noqa: T201 - the same
    return 0


def _counted(functions: int) -> str:
    return "1 function" if functions == 1 else f"{functions or 'no'} functions"


def run_demo(options: argparse.Namespace) -> int:
    """Run the demonstration's jobs, print their table and name the report."""
    from whichever.cli.demo import run  # noqa: PLC0415 - the other commands need none of the jobs

    _check_writable(options.html)
    with streams.ProgressLine(sys.stderr) as line:
        report = run.run_jobs(run.chosen(options.jobs), whichever.which, line, verify=options.verify)
    run.show(report, options.html)
    return 0 if report.complete else 1


def _items(options: argparse.Namespace) -> Iterable[Any]:
    if options.each:
        return sources.files_matching(options.each)
    if options.items:
        return sources.iterable_named(options.items)
    return sources.lines_of(options.lines)


def _check_writable(file: str | None) -> None:
    # Before anything is measured: minutes of work must not be lost to a mistyped folder.
    if file is None:
        return
    folder = Path(file).parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        msg = f"{file}: the folder {folder} is not there or cannot be written to"
        raise CommandLineError(msg)
