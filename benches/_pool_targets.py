"""What whichever.ProcessPool promises against its rivals, and how a run's figures compare with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from _pool_contenders import OURS

if TYPE_CHECKING:
    from collections.abc import Mapping

STANDARD = ("PPE fork", "PPE forkserver", "PPE spawn")
"""ProcessPoolExecutor with each start method; a promise against it holds against the quickest of the three."""


@dataclass(frozen=True)
class Target:
    """One promise.

    Attributes:
        what: For readers.
        figure: Ours.
        rivals: Whose figure to compare with, the best of them; nobody's for a plain bound.
        at_least: The factor by which ours is better, or the bound.
        of: The rivals' figure where it is another one than ours.
    """

    what: str
    figure: str
    rivals: tuple[str, ...]
    at_least: float
    of: str = ""


TARGETS = (
    Target("no-op round trip", "round_trip_p50_us", STANDARD, 10),
    Target("no-op round trip", "round_trip_p50_us", ("mp.Pool",), 4),
    Target("submit() of no-ops", "submit_per_s", STANDARD, 15),
    Target("submit() of no-ops", "submit_per_s", ("mp.Pool",), 5),
    Target("submit() of no-ops", "submit_per_s", ("loky",), 40),
    Target("submit() of no-ops", "submit_per_s", ("Ray",), 100),
    Target("map() of no-ops, default arguments", "map_default_per_s", STANDARD, 150),
    Target(
        "map() of no-ops, default arguments, against the best chunk size",
        "map_default_per_s", ("mp.Pool",), 0.8, "map_best_chunk_per_s",
    ),
    Target("100 MiB array to a worker, warm", "array_100m_warm_gb_per_s", STANDARD, 25),
    Target("100 MiB array to a worker, cold", "array_100m_cold_gb_per_s", STANDARD, 10),
    Target("100 MiB array to a worker, warm", "array_100m_warm_gb_per_s", ("Ray",), 3.5),
    Target("100 MiB array to a worker, cold", "array_100m_cold_gb_per_s", ("Ray",), 1.5),
    Target("1 MiB bytes to a worker", "bytes_1m_gb_per_s", STANDARD, 7),
    Target("first result of a new pool", "new_pool_ms", ("loky",), 25),
    Target("first result of the first pool ever", "first_pool_ms", ("PPE forkserver",), 1),
    Target("efficiency on tasks of 1 ms", "efficiency_1ms", (), 0.93),
    Target("efficiency on tasks of 10 ms", "efficiency_10ms", (), 0.97),
    Target("memory of a worker, shared pages divided", "worker_pss_mib", ("PPE forkserver",), 1),
    Target("memory of a worker, its own pages", "worker_uss_mib", ("PPE forkserver",), 1),
)  # fmt: skip


def less_is_better(figure: str) -> bool:
    """Say whether a figure is a cost: its unit, which ends its name, tells."""
    return figure.endswith(("_us", "_ms", "_mib"))


def compared(medians: Mapping[tuple[str, str], float]) -> list[dict[str, Any]]:
    """Give a flat row for each promise: ours, the rival's, the factor, and whether it is kept.

    Args:
        medians: Figures by figure and contender. A promise whose figures are not all there says so.
    """
    return [row(target, medians) for target in TARGETS]


def row(target: Target, medians: Mapping[tuple[str, str], float]) -> dict[str, Any]:
    """Compare one promise with what was measured."""
    ours = medians.get((target.figure, OURS))
    theirs = {
        rival: medians[target.of or target.figure, rival]
        for rival in target.rivals
        if (target.of or target.figure, rival) in medians
    }
    cost = less_is_better(target.figure)
    rival = (min if cost else max)(theirs, key=lambda name: theirs[name], default="")
    factor = ours
    if ours is not None and target.rivals:
        factor = (theirs[rival] / ours if cost else ours / theirs[rival]) if rival else None
    return {
        "figure": target.what,
        "unit": unit(target.figure),
        "ours": ours,
        "rival": rival or " or ".join(target.rivals),
        "theirs": theirs.get(rival),
        "factor": factor,
        "at_least": target.at_least,
        "kept": "not measured" if factor is None else "yes" if factor >= target.at_least else "no",
    }


def unit(figure: str) -> str:
    """Read a figure's unit from its name."""
    for ending, words in {
        "_gb_per_s": "GB/s",
        "_per_s": "per s",
        "_us": "us",
        "_ms": "ms",
        "_mib": "MiB",
    }.items():
        if figure.endswith(ending):
            return words
    return ""
