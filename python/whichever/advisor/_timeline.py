"""The timeline's geometry: who was in which state when, summed into columns.

A thousand spans a second do not fit on a page: the time is cut into columns, and each column shows the
shares of the states in it, stacked. What nobody sampled stays blank.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from whichever.advisor import _units as units
from whichever.advisor import _wording as wording
from whichever.advisor._chart import WIDTH, Tick, linear_ticks

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from whichever._types import TimelineSpan

_LEFT = 132.0
_COLUMNS = 560
_ROW = 24.0
_PITCH = 34.0
_TOP = 6.0

_MOST_THREADS = 12
"""Rows drawn, the busiest threads first; the report says how many were left out."""


@dataclass(frozen=True, slots=True)
class Row:
    """One thread: its name, the top of its band, and for each state the SVG path and its seconds."""

    thread: str
    y: float
    paths: dict[str, str]
    seconds: dict[str, float]


@dataclass(frozen=True, slots=True)
class Timeline:
    """All rows, the axis below them, and what a column stands for."""

    rows: tuple[Row, ...]
    ticks: tuple[Tick, ...]
    states: tuple[str, ...]
    hidden: int
    column_seconds: float
    bottom: float
    left: float = _LEFT
    right: float = _LEFT + _COLUMNS
    width: float = WIDTH
    row: float = _ROW


def timeline(spans: Sequence[TimelineSpan]) -> Timeline | None:
    """Lay out the spans; None when there is nothing to show."""
    spans = [span for span in spans if span.seconds > 0]
    if not spans:
        return None
    start = min(span.start for span in spans)
    length = max(span.start + span.seconds for span in spans) - start
    step = length / _COLUMNS
    threads = _threads(spans)
    states = _states(spans)
    rows = []
    for i, thread in enumerate(threads[:_MOST_THREADS]):
        own = [span for span in spans if span.thread == thread]
        rows.append(_row(thread, own, (start, step), states, _TOP + i * _PITCH))
    return Timeline(
        rows=tuple(rows),
        ticks=tuple(Tick(_LEFT + t / step, units.tick_text(t)) for t in linear_ticks(length)),
        states=states,
        hidden=max(0, len(threads) - _MOST_THREADS),
        column_seconds=step,
        bottom=_TOP + len(rows) * _PITCH,
    )


def _threads(spans: Iterable[TimelineSpan]) -> list[str]:
    """Order the threads: most seconds on the GIL or on a core first, then as they came."""
    busy: dict[str, float] = {}
    for span in spans:
        active = span.seconds if span.state in ("held", "released", "waiting") else 0.0
        busy[span.thread] = busy.get(span.thread, 0.0) + active
    return sorted(busy, key=lambda thread: -busy[thread])


def _states(spans: Iterable[TimelineSpan]) -> tuple[str, ...]:
    seen = {span.state for span in spans}
    known = [state for state in wording.STATES if state in seen]
    return (*known, *sorted(seen.difference(known)))


def _row(
    thread: str, spans: list[TimelineSpan], axis: tuple[float, float], states: Sequence[str], y: float
) -> Row:
    columns = _columns(spans, *axis)
    levels = [0.0] * _COLUMNS
    paths: dict[str, str] = {}
    for state in states:
        heights = [_ROW * min(column.get(state, 0.0) / axis[1], 1.0) for column in columns]
        if path := _path(heights, levels, y):
            paths[state] = path
        levels = [level + height for level, height in zip(levels, heights, strict=True)]
    seconds = {state: sum(s.seconds for s in spans if s.state == state) for state in paths}
    return Row(thread, y, paths, seconds)


def _columns(spans: Iterable[TimelineSpan], start: float, step: float) -> list[dict[str, float]]:
    """Share each span out over the columns that it touches."""
    columns: list[dict[str, float]] = [{} for _ in range(_COLUMNS)]
    for span in spans:
        begin, end = span.start - start, span.start - start + span.seconds
        first, last = int(begin / step), min(int(end / step), _COLUMNS - 1)
        for i in range(first, last + 1):
            inside = min(end, (i + 1) * step) - max(begin, i * step)
            columns[i][span.state] = columns[i].get(span.state, 0.0) + max(inside, 0.0)
    return columns


def _path(heights: Sequence[float], levels: Sequence[float], y: float) -> str:
    """Draw equal neighbours as one box, standing on what lies below them."""
    boxes = [
        (round(y + _ROW - level - height, 1), round(height, 1))
        for height, level in zip(heights, levels, strict=True)
    ]
    drawn: list[str] = []
    x = _LEFT
    for (top, height), run in groupby(boxes):
        width = sum(1 for _ in run)
        if height > 0:
            drawn.append(f"M{x:g} {top:g}h{width}v{height:g}h-{width}z")
        x += width
    return "".join(drawn)
