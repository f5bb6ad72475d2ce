"""How a bench measures fairly and writes down what it found: one header for every result file.

A result file is ``benches/results/NAME.json``: the command that made it, the machine, the versions, the
commit, the date and the number of repeats, and under ``results`` whatever the bench found.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import os
import platform
import statistics
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T")
ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benches" / "results"
PACKAGES = ("whichever", "cloudpickle", "numpy")


def write_result(name: str, data: Any, *, repeats: int = 1, folder: Path = RESULTS) -> Path:
    """Write ``NAME.json`` under the common header, whole or not at all, and return its path.

    Args:
        name: The file's name without its ending.
        data: What was found: anything that JSON can hold. A list of flat dicts becomes a table as it is.
        repeats: How often each figure was measured; the figures are medians.
        folder: Where to write; tests name another.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    text = json.dumps(header(repeats) | {"results": data}, indent=1, ensure_ascii=False, allow_nan=False)
    unfinished = path.with_suffix(f".{os.getpid()}.part")
    unfinished.write_text(text + "\n", encoding="utf-8")
    unfinished.replace(path)
    return path


def header(repeats: int) -> dict[str, Any]:
    """Say what a figure of this run belongs to."""
    return {
        "command": _command(),
        "machine": {"cpu": _cpu(), "cores": len(os.sched_getaffinity(0)), "kernel": platform.release()},
        "versions": _versions(),
        "commit": _commit(),
        "date": dt.datetime.now(dt.UTC).strftime("%Y-%m-%d"),
        "repeats": repeats,
    }


def interleave(contenders: Mapping[str, Callable[[], T]], repeats: int) -> dict[str, list[T]]:
    """Call every contender `repeats` times, round by round, and return what each one gave: figures, mostly.

    Each round begins with another contender, so that neither a machine that warms up nor one that is busy
    for a while favours the first.
    """
    names = list(contenders)
    figures: dict[str, list[T]] = {name: [] for name in names}
    for turn in range(repeats):
        shift = turn % len(names) if names else 0
        for name in names[shift:] + names[:shift]:
            figures[name].append(contenders[name]())
    return figures


def medians(figures: Mapping[str, list[float]]) -> dict[str, float]:
    """Give the median of each contender's figures."""
    return {name: statistics.median(values) for name, values in figures.items()}


def quantile(values: list[float], share: float) -> float:
    """Give the smallest of `values` that at least `share` of them do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def _command() -> str:
    script = Path(sys.argv[0]).resolve()
    name = script.relative_to(ROOT) if script.is_relative_to(ROOT) else script.name
    return " ".join(["python", str(name), *sys.argv[1:]])


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version() + ("" if _has_gil() else "t")}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _has_gil() -> bool:
    return getattr(sys, "_is_gil_enabled", lambda: True)()


def _commit() -> str:
    try:
        commit = _git("rev-parse", "--short=12", "HEAD")
        changed = _git("status", "--porcelain", "--", ".", ":!benches/results", ":!README.md", ":!docs")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit + ("+changes" if changed else "")


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", "-c", "safe.directory=*", *arguments], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()
