"""The verdict as a page: one file that opens anywhere, offline, and a fragment of it for notebooks.

Guarantee: no script, no network (the page's own content policy forbids both), and every text that comes from
the user's program is escaped. The templates draw; the figures' geometry comes from `_chart` and `_timeline`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from whichever._core import __version__
from whichever.advisor import _chart as chart
from whichever.advisor import _units as units
from whichever.advisor import _wording as wording
from whichever.advisor._timeline import timeline

if TYPE_CHECKING:
    from collections.abc import Iterator

    from whichever._types import VerdictData

_TINTS = 3
"""Shades for blocked kinds; a task rarely shows more, and then they are told apart by their labels."""


def page(verdict: VerdictData) -> str:
    """Draw the whole page."""
    return _environment().get_template("page.html").render(_context(verdict), version=__version__)


def fragment(verdict: VerdictData) -> str:
    """Draw the headline and the tables, to stand inside another page."""
    return _environment().get_template("fragment.html").render(_context(verdict))


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("whichever.advisor"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalize,
    )
    environment.filters.update(
        clean=units.clean,
        seconds=units.seconds_text,
        speedup=units.speedup_text,
        percent=units.percent_text,
        payload=units.bytes_text,
        repr=units.short_repr,
    )
    environment.globals.update(units=units, wording=wording, best_speedup=wording.best_speedup)
    return environment


def _finalize(value: Any) -> Any:
    """Spell out what must not stand in a page: control characters, surrogates, direction marks."""
    if type(value) is str and not value.isprintable():
        return units.clean(value)
    return value


def _context(verdict: VerdictData) -> dict[str, Any]:
    return {
        "verdict": verdict,
        "answer": wording.answer(verdict),
        "subject": wording.subject(verdict),
        "ranked": wording.ranked(verdict),
        "chosen": wording.chosen_forecast(verdict),
        "parts": wording.ledger_parts(verdict.ledger),
        "bar": chart.ledger_bar(verdict.ledger),
        "forecasts": chart.forecast_chart(verdict),
        "timeline": timeline(verdict.timeline),
        "tints": _tints(verdict),
        "facts": list(_facts(verdict.machine)),
        "failures": wording.failures_text(verdict) if verdict.failures else "",
        "measured": any(f.measured is not None for f in verdict.forecasts),
        "tried": any(f.trial is not None for f in verdict.forecasts),
    }


def _tints(verdict: VerdictData) -> dict[str, str]:
    """Give each state its CSS class; blocked kinds take the shades in the order they appear in."""
    states = [part.state for part in wording.ledger_parts(verdict.ledger)]
    states += [span.state for span in verdict.timeline]
    blocked = [state for state in dict.fromkeys(states) if state not in wording.STATES]
    tints = {state: f"blocked-{i % _TINTS + 1}" for i, state in enumerate(blocked)}
    return {state: state for state in wording.STATES} | tints


def _facts(machine: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Flatten the machine's facts to rows of name and value."""
    for key, value in machine.items():
        name = f"{prefix}{key}".replace("_", " ")
        if isinstance(value, Mapping):
            yield from _facts(value, f"{name}: ")
        else:
            yield name, _fact(value)


def _fact(value: Any) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case None:
            return "unknown"
        case float():
            return f"{value:.4g}"
        case str() | int():
            return str(value)
        case Sequence():
            return ", ".join(map(_fact, value))
    return units.short_repr(value)
