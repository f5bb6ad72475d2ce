"""The verdict as a table for the terminal: about 25 lines, at home in 80 columns.

Assumes that the caller knows where the text goes: `render` takes width, colour and encoding as arguments and
looks at no environment variable and at no stream; `_verdict` does.
"""

from __future__ import annotations

from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from whichever.advisor import _units as units
from whichever.advisor import _wording as wording

if TYPE_CHECKING:
    from collections.abc import Iterator

    from whichever._types import Forecast, VerdictData

_MOST_FORECASTS = 9
"""Rows of forecasts; beyond, each engine shows its best worker count only."""

_MOST_SENTENCES = 4
"""Reasons, or pieces of advice, in the table; the report shows all of them."""

_ROOM_FOR_INTERVALS = 78
"""Columns from which on the 80 % intervals are shown."""

_ASCII = str.maketrans({"→": ">", "·": "|", "\N{EN DASH}": "-", "µ": "u", "…": "..."})


@dataclass(frozen=True, slots=True)
class Look:
    """Where a table is going to be read.

    Attributes:
        width: Columns at hand.
        color: Whether escape sequences are understood and wanted.
        encoding: What the text must survive being encoded as.
    """

    width: int = 80
    color: bool = False
    encoding: str = "utf-8"


def render(verdict: VerdictData, look: Look) -> str:
    """Draw the verdict as text without a final newline."""
    console = Console(
        file=StringIO(),
        width=look.width,
        force_terminal=look.color,
        force_jupyter=False,
        no_color=not look.color,
        color_system="standard" if look.color else None,
        legacy_windows=False,
        highlight=False,
    )
    with console.capture() as capture:
        console.print(layout(verdict, look.width))
    text = "\n".join(line.rstrip() for line in capture.get().rstrip().splitlines())
    try:
        text.encode(look.encoding)
    except UnicodeEncodeError:
        text = text.translate(_ASCII).encode(look.encoding, "backslashreplace").decode(look.encoding)
    return text


def layout(verdict: VerdictData, width: int) -> Group:
    """Compose the parts of the table for rich."""
    head = Text.assemble(("which: ", "dim"), (wording.headline(verdict), "bold green"))
    parts = [head, Text(wording.subject(verdict), style="dim"), Text()]
    if not verdict.forecasts:
        return Group(*parts, _notes(verdict, ()))
    shown = _shown(verdict)
    return Group(*parts, _forecasts(verdict, shown, width), Text(), _notes(verdict, shown))


def _shown(verdict: VerdictData) -> list[Forecast]:
    """Pick the forecasts that fit: all of them, or the best of each engine."""
    ranked = wording.ranked(verdict)
    if len(ranked) <= _MOST_FORECASTS:
        return ranked
    best: dict[str, Forecast] = {}
    for forecast in ranked:
        best.setdefault(forecast.engine, forecast)
    return list(best.values())


def _forecasts(verdict: VerdictData, shown: list[Forecast], width: int) -> Table:
    measured = any(f.measured is not None for f in verdict.forecasts)
    intervals = width >= _ROOM_FOR_INTERVALS
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("", no_wrap=True, width=1)
    table.add_column("engine", no_wrap=True)
    columns = ["workers", "predicted", *["80 % range"] * intervals, *["measured"] * measured, "speed-up"]
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("limit", no_wrap=True)
    chosen = wording.chosen_forecast(verdict)
    for forecast in shown:
        cells = [forecast.engine, str(forecast.workers), units.seconds_text(forecast.seconds)]
        cells += [units.interval_text(forecast.low, forecast.high)] * intervals
        cells += [units.seconds_text(forecast.measured)] * measured
        cells += [_speedup(verdict, forecast), units.clean(forecast.limit)]
        marker = "→" if forecast is chosen else ""
        table.add_row(*map(Text, (marker, *cells)), style="bold" if forecast is chosen else "")
    return table


def _speedup(verdict: VerdictData, forecast: Forecast) -> str:
    if forecast.engine == "serial":
        return "baseline"
    return units.speedup_text(wording.best_speedup(verdict, forecast))


def _notes(verdict: VerdictData, shown: tuple[()] | list[Forecast]) -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for label, text in _lines(verdict, len(shown)):
        grid.add_row(Text(label), Text(text))
    return grid


def _lines(verdict: VerdictData, shown: int) -> Iterator[tuple[str, str]]:
    if hidden := len(verdict.forecasts) - shown:
        yield "more", f"{hidden} other worker counts are in verdict.forecasts"
    yield "ledger", ledger_line(verdict)
    for i, (engine, reason) in enumerate(verdict.excluded.items()):
        yield "" if i else "excluded", f"{units.clean(engine)}: {units.clean(reason)}"
    if verdict.failures:
        yield "failures", wording.failures_text(verdict)
    yield from _sentences("why", "reasons", verdict.reasons)
    yield from _sentences("advice", "advice", verdict.advice)


def _sentences(label: str, field: str, sentences: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    hidden = sentences[_MOST_SENTENCES:]
    if len(hidden) == 1:  # as short as saying that it is hidden
        hidden = ()
    for sentence in sentences[: len(sentences) - len(hidden)]:
        yield label, units.clean(sentence)
        label = ""
    if hidden:
        yield "", f"… {len(hidden)} more in verdict.{field}"


def ledger_line(verdict: VerdictData) -> str:
    """Say where a task's time went in one line, the parts below half a per cent left out."""
    parts = [p for p in wording.ledger_parts(verdict.ledger) if p.share >= wording.SMALLEST_SHARE]
    shares = " · ".join(f"{part.label} {units.percent_text(part.share)}" for part in parts)
    if not verdict.ledger.gil:
        shares = f"{shares} (no GIL)"
    return shares
