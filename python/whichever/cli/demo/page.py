"""The demonstration's report: one self-contained page, a table first and each job's verdict below it."""

from __future__ import annotations

import tempfile
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from whichever.cli.demo.figures import engine_and_workers, factor

if TYPE_CHECKING:
    from collections.abc import Iterable

    from whichever.cli.demo.run import Report, Row

HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>whichever: the textbook against a clock</title>
<style>
  :root { color-scheme: light dark; }
  body { font: 16px/1.5 system-ui, sans-serif; max-width: 64rem; margin: 3rem auto; padding: 0 1rem; }
  h1 { font-weight: 650; letter-spacing: -.02em; }
  table.demo { border-collapse: collapse; width: 100%; font-size: .92rem; }
  table.demo :is(th, td) { text-align: left; vertical-align: top; padding: .4rem 1.2rem .4rem 0; }
  table.demo tr { border-bottom: 1px solid color-mix(in srgb, currentColor 18%, transparent); }
  table.demo .n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
  section.demo { margin-top: 4rem; border-top: 2px solid currentColor; }
  .aside { opacity: .75; }
</style>
</head>
<body>
"""


def write(report: Report, file: Path) -> None:
    """Write the page to `file`, whole or not at all."""
    text = HEAD + "\n".join(_body(report)) + "\n</body>\n</html>\n"
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", dir=file.parent, prefix=f".{file.name}-", delete=False
    ) as draft:
        draft.write(text)
    Path(draft.name).chmod(0o644)
    Path(draft.name).replace(file)


def _body(report: Report) -> Iterable[str]:
    yield "<h1>The textbook against a clock</h1>"
    yield (
        f"<p>{len(report.rows)} jobs, measured in {report.seconds:.0f} s. Figures are speed-ups over a plain"
        " loop: those of the textbook's engine, then those predicted and measured for the verdict's.</p>"
    )
    yield '<table class="demo"><thead><tr><th>job</th><th>the textbook</th><th class="n">measured</th>'
    yield '<th>the verdict</th><th class="n">predicted</th><th class="n">measured</th>'
    yield "<th>why</th></tr></thead><tbody>"
    yield from map(_line, report.rows)
    yield "</tbody></table>"
    if report.warning:
        yield f'<p class="aside">{escape(report.warning.capitalize())}.</p>'
    for title, others in (("Skipped", report.skipped), ("Failed", report.failed)):
        for name, reason in others.items():
            yield f'<p class="aside">{title}: {escape(name)}, {escape(reason)}</p>'
    yield from map(_section, report.rows)


def _line(row: Row) -> str:
    job = row.job
    return (
        f'<tr><td><a href="#{escape(row.name)}">{escape(job.title)}</a></td><td>{escape(job.because)}</td>'
        f'<td class="n">{factor(row.textbook_measured)}</td><td>{escape(engine_and_workers(row.verdict))}</td>'
        f'<td class="n">{factor(row.predicted)}</td><td class="n">{factor(row.measured)}</td>'
        f"<td>{escape(row.why)}</td></tr>"
    )


def _section(row: Row) -> str:
    return (
        f'<section class="demo" id="{escape(row.name)}"><h2>{escape(row.job.title)}</h2>'
        f'<p>{escape(row.job.task)} <span class="aside">The textbook: {escape(row.job.because)}.</span></p>'
        f"{row.verdict._repr_html_()}</section>"
    )
