"""The demonstration's last words: one line a job, for a terminal or a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from whichever.cli.demo.figures import engine_and_workers, factor

if TYPE_CHECKING:
    from whichever.cli.demo.run import Report, Row

WIDTH_IN_A_FILE = 118


def show(report: Report, stream: TextIO) -> None:
    """Print the table, then what was skipped or failed."""
    console = Console(file=stream, width=None if stream.isatty() else WIDTH_IN_A_FILE, highlight=False)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading, justify in (
        ("job", "left"), ("the textbook", "left"), ("measured", "right"), ("the verdict", "left"),
        ("predicted", "right"), ("measured", "right"), ("why", "left"),
    ):  # fmt: skip
        table.add_column(heading, justify=justify)  # type: ignore[arg-type] # rich wants literals
    for row in report.rows:
        table.add_row(*_cells(row))
    console.print(table)
    for name, missing in report.skipped.items():
        console.print(Text(f"skipped {name}: {missing}"))
    for name, problem in report.failed.items():
        console.print(Text(f"failed {name}: {problem}"))
    if report.warning:
        console.print(Text(report.warning))
    console.print(
        f"{len(report.rows)} jobs in {report.seconds:.0f} s; the figures are speed-ups over a plain loop"
    )


def _cells(row: Row) -> list[Text]:
    other = row.job.textbook != row.verdict.engine
    return [
        Text(row.job.title),
        Text(row.job.textbook),
        Text(factor(row.textbook_measured)),
        Text(engine_and_workers(row.verdict), style="bold" if other else ""),
        Text(factor(row.predicted)),
        Text(factor(row.measured)),
        Text(row.why),
    ]
