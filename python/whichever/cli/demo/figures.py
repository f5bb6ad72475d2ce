"""How figures are written in the demonstration's table and page."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from whichever import Verdict


def factor(speedup: float | None) -> str:
    """Write a speed-up with the digits that mean something: 0.11x, 1.9x, 42x."""
    if speedup is None:
        return "-"
    digits = 2 if speedup < 1 else 1 if speedup < 10 else 0  # noqa: PLR2004 - as in the examples above
    return f"{speedup:.{digits}f}x"


def engine_and_workers(verdict: Verdict) -> str:
    """Write the engine of a verdict and its workers, which a plain loop does not have."""
    return verdict.engine if verdict.engine == "serial" else f"{verdict.engine} x {verdict.workers}"
