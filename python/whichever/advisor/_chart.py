"""Scales and geometry of the report's figures: values in, coordinates out; the templates draw them.

Guarantee: pure arithmetic on the verdict. Coordinates are in the units of each figure's viewBox, y downwards.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from whichever._types import ENGINE_NAMES
from whichever.advisor import _units as units
from whichever.advisor import _wording as wording

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from whichever._types import Forecast, Ledger, VerdictData

WIDTH = 720
"""Every figure is this wide."""

_LOG_FROM = 8.0
"""A ratio of largest to smallest value from which the axis of seconds is logarithmic."""

_STEPS: tuple[tuple[float, tuple[int, ...]], ...] = ((2, (1, 2, 5)), (4, (1, 3)), (math.inf, (1,)))
"""(up to how many decades, ticks in each): so many that a logarithmic axis has about eight."""

_DODGE = 20.0
"""Distance between engines that share a worker count, so that their marks do not cover each other."""

_DODGE_SHARE = 0.75
"""Of the room that a worker count has, how much its engines may take."""


@dataclass(frozen=True, slots=True)
class Tick:
    """A place on an axis and its label."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Segment:
    """One part of the ledger's bar."""

    part: wording.LedgerPart
    x: float
    width: float


@dataclass(frozen=True, slots=True)
class Mark:
    """One forecast in the chart; `measured` is the height of the measured point at `beside`, or None."""

    forecast: Forecast
    x: float
    beside: float
    y: float
    low: float
    high: float
    measured: float | None
    chosen: bool


@dataclass(frozen=True, slots=True)
class Series:
    """The forecasts of one engine, by workers."""

    engine: str
    marks: tuple[Mark, ...]

    @property
    def points(self) -> str:
        """The line through the marks, as SVG wants it."""
        return " ".join(f"{mark.x:.1f},{mark.y:.1f}" for mark in self.marks)


@dataclass(frozen=True, slots=True)
class ForecastChart:
    """Seconds over workers, one series for each engine."""

    series: tuple[Series, ...]
    workers: tuple[Tick, ...]
    seconds: tuple[Tick, ...]
    serial_y: float | None
    left: float = 64.0
    right: float = WIDTH - 16.0
    top: float = 34.0
    bottom: float = 304.0
    height: float = 354.0


def ledger_bar(ledger: Ledger) -> tuple[Segment, ...]:
    """Lay the ledger's parts side by side; parts that did not occur have no segment."""
    segments: list[Segment] = []
    x = 0.0
    for part in wording.ledger_parts(ledger):
        width = WIDTH * part.share
        if width > 0:
            segments.append(Segment(part, x, width))
            x += width
    return tuple(segments)


def forecast_chart(verdict: VerdictData) -> ForecastChart | None:
    """Place every forecast; None when there is none with a finite number of seconds."""
    shown = [f for f in verdict.forecasts if math.isfinite(f.seconds) and f.seconds > 0]
    if not shown:
        return None
    frame = ForecastChart((), (), (), None)
    scale = SecondsScale.over(_values(shown), frame.bottom, frame.top)
    places = _places(shown, frame)
    chosen = wording.chosen_forecast(verdict)
    series = []
    for engine in ENGINE_NAMES:
        own = sorted((f for f in shown if f.engine == engine), key=lambda f: f.workers)
        marks = tuple(_mark(f, scale, places[f.workers], chosen=f is chosen) for f in own)
        if marks:
            series.append(Series(engine, marks))
    serial = wording.serial_forecast(verdict)
    return ForecastChart(
        series=tuple(series),
        workers=tuple(Tick(place.centre, str(count)) for count, place in places.items()),
        seconds=scale.ticks(),
        serial_y=scale.at(serial.seconds) if serial in shown and serial is not None else None,
    )


def _values(forecasts: Iterable[Forecast]) -> list[float]:
    values = [v for f in forecasts for v in (f.seconds, f.low, f.high, f.measured or f.seconds)]
    return [v for v in values if math.isfinite(v) and v > 0]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a worker count stands on the axis, and which engines share it."""

    centre: float
    engines: tuple[str, ...]
    dodge: float

    def x(self, engine: str) -> float:
        return self.centre + (self.engines.index(engine) - (len(self.engines) - 1) / 2) * self.dodge


def _places(forecasts: Sequence[Forecast], frame: ForecastChart) -> dict[int, _Place]:
    counts = sorted({f.workers for f in forecasts})
    step = (frame.right - frame.left) / len(counts)
    places = {}
    for i, count in enumerate(counts):
        there = {f.engine for f in forecasts if f.workers == count}
        engines = tuple(name for name in ENGINE_NAMES if name in there)
        dodge = min(_DODGE, _DODGE_SHARE * step / len(engines))
        places[count] = _Place(frame.left + step * (i + 0.5), engines, dodge)
    return places


def _mark(forecast: Forecast, scale: SecondsScale, place: _Place, *, chosen: bool) -> Mark:
    x = place.x(forecast.engine)
    return Mark(
        forecast=forecast,
        x=x,
        beside=x + place.dodge / 2,
        y=scale.at(forecast.seconds),
        low=scale.at(forecast.low),
        high=scale.at(forecast.high),
        measured=None if forecast.measured is None else scale.at(forecast.measured),
        chosen=chosen,
    )


@dataclass(frozen=True, slots=True)
class SecondsScale:
    """From seconds to heights: linear from 0, or logarithmic when the values differ widely."""

    least: float
    most: float
    bottom: float
    top: float
    logarithmic: bool

    @classmethod
    def over(cls, values: Sequence[float], bottom: float, top: float) -> SecondsScale:
        """Choose the scale for `values`, which are positive."""
        least, most = min(values), max(values)
        if most / least > _LOG_FROM:
            return cls(least / 2, most * 1.3, bottom, top, logarithmic=True)
        return cls(0.0, most * 1.08, bottom, top, logarithmic=False)

    def at(self, seconds: float) -> float:
        """Give the height of `seconds`, inside the frame."""
        inside = min(max(seconds, self.least), self.most) if math.isfinite(seconds) else self.most
        if self.logarithmic:
            share = math.log(inside / self.least) / math.log(self.most / self.least)
        else:
            share = inside / self.most
        return self.bottom - share * (self.bottom - self.top)

    def ticks(self) -> tuple[Tick, ...]:
        """Give four to eight round places."""
        values = self._decades() if self.logarithmic else linear_ticks(self.most)
        return tuple(Tick(self.at(v), units.tick_text(v)) for v in values)

    def _decades(self) -> list[float]:
        low, high = math.floor(math.log10(self.least)), math.ceil(math.log10(self.most))
        steps = next(steps for most, steps in _STEPS if high - low <= most)
        values = [step * 10.0**power for power in range(low, high + 1) for step in steps]
        return [v for v in values if self.least <= v <= self.most]


def linear_ticks(most: float) -> list[float]:
    """Give round values from 0 to at most `most`, four to eight of them."""
    rough = most / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(s * power for s in (1, 2, 2.5, 5, 10) if s * power >= rough)
    return [step * i for i in range(int(most / step) + 1)]
