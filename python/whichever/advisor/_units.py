"""Numbers with units, and foreign texts, as text that is safe to print: three digits, one line, no surprises.

Guarantee: whatever the user's objects say of themselves, `clean` and `short_repr` give printable text on one
line; `short_repr` does not raise.
"""

from __future__ import annotations

import math
import reprlib

_UNITS: tuple[tuple[float, float, str], ...] = (
    (18_000.0, 3600.0, "h"),
    (300.0, 60.0, "min"),
    (1.0, 1.0, "s"),
    (1e-3, 1e-3, "ms"),
    (1e-6, 1e-6, "µs"),
    (0.0, 1e-9, "ns"),
)
"""(from how many seconds on, seconds per unit, unit): '280 s' reads better than '4.67 min'."""

LONGEST_REPR = 200
"""Characters of a repr that are kept."""


def clean(text: object) -> str:
    """Return `text` on one line, with control characters, surrogates and direction marks spelt out."""
    joined = " ".join(str(text).split())
    if joined.isprintable():
        return joined
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in joined)


def short_repr(value: object) -> str:
    """Give the repr of a user's object, shortened; a huge container is not spelt out first."""
    try:
        text = clean(_REPR.repr(value))
    except Exception as error:  # noqa: BLE001 - a user's __repr__ may raise anything, and saving goes on
        text = f"<{type(value).__name__} whose repr raised {type(error).__name__}>"
    return text if len(text) <= LONGEST_REPR else text[: LONGEST_REPR - 1] + "…"


def _shortener() -> reprlib.Repr:
    shortener = reprlib.Repr()
    shortener.maxlevel = 3
    shortener.maxstring = shortener.maxother = shortener.maxlong = LONGEST_REPR
    return shortener


_REPR = _shortener()


def _unit(seconds: float) -> tuple[float, str]:
    size = float(f"{abs(seconds):.3g}")
    return next((scale, unit) for least, scale, unit in _UNITS if size >= least)


def _digits(value: float) -> str:
    """Write three significant digits, trailing zeros included, so that columns of numbers line up."""
    size = abs(value)
    return f"{value:.{0 if size >= 99.95 else 1 if size >= 9.995 else 2}f}"  # noqa: PLR2004 - where a digit moves


def seconds_text(seconds: float | None) -> str:
    """Say a length of time: '152 ms', '16.2 s', '12.5 min'."""
    if seconds is None:
        return "-"
    if not math.isfinite(seconds):
        return "unknown"
    if seconds == 0:
        return "0 s"
    scale, unit = _unit(seconds)
    return f"{_digits(seconds / scale)} {unit}"


def tick_text(seconds: float) -> str:
    """Say a round length of time on an axis: '5 s', '250 ms'."""
    if seconds == 0:
        return "0"
    scale, unit = _unit(seconds)
    return f"{seconds / scale:.3g} {unit}"


def interval_text(low: float, high: float) -> str:
    """Say an interval in the unit of its upper end: from 15.1 to 17.8 s."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return "unknown"
    if high == 0:
        return "0 s"
    scale, unit = _unit(high)
    return f"{_digits(low / scale)}\N{EN DASH}{_digits(high / scale)} {unit}"


def speedup_text(speedup: float) -> str:
    """Say a speed-up in words: '1.9x faster', '9.1x slower', 'as fast'."""
    if not math.isfinite(speedup) or speedup <= 0:
        return "unknown"
    factor = max(speedup, 1 / speedup)
    number = f"{factor:.1f}" if factor < 9.95 else f"{factor:,.0f}"  # noqa: PLR2004 - two digits are enough
    if number == "1.0":
        return "as fast"
    return f"{number}x {'faster' if speedup > 1 else 'slower'}"


def percent_text(share: float) -> str:
    """Say a share: '71 %', '0.6 %'."""
    percent = 100 * share
    digits = 1 if 0 < percent < 0.95 else 0  # noqa: PLR2004 - from there on it rounds to 1
    return f"{percent:.{digits}f} %"


def bytes_text(count: int | None) -> str:
    """Say a number of bytes: '8.4 MB'; a payload of None does not pickle."""
    if count is None:
        return "does not pickle"
    for scale, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= scale:
            return f"{_digits(count / scale)} {unit}"
    return f"{count} B"


def plural(count: int, noun: str) -> str:
    """Say a count with its noun: '1 worker', '2 workers', '12,000 tasks'."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
