"""This machine under this interpreter: its costs, calibrated once, and how good forecasts have been on it."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import statistics
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whichever import _cache, _core
from whichever.executors._cores_left import cores_left

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

RECORDS = "verdicts.jsonl"
_COLUMNS = {
    "start": 10,
    "per worker": 12,
    "per message": 13,
    "per task": 10,
    "MB there": 10,
    "MB back": 10,
}
"""Of the table of engines: names and widths."""
_CLOSE = 0.20
_TIE = 1.05
_FORM = 4
"""Version of the cached costs: raise it when what is measured changes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackRecord:
    """How verified forecasts turned out here.

    Attributes:
        verdicts: How many verified verdicts are on record.
        forecasts: How many forecasts were compared with a real run.
        median_error: Median of |forecast - measured| / measured.
        within_20: Share of forecasts within 20 % of the measurement.
        best_chosen: Share of verdicts whose engine took at most 5 % longer than the fastest.
        worst_regret: The chosen engine's measured time over the fastest's, at its worst.
    """

    verdicts: int
    forecasts: int
    median_error: float
    within_20: float
    best_chosen: float
    worst_regret: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What the advisor knows of this machine and interpreter.

    Attributes:
        facts: Names and versions that the costs belong to.
        costs: The model's constants; seconds unless a name says otherwise.
        record: How verified forecasts turned out here; None before the first.
        calibrated: When the costs were measured, seconds since the epoch.
    """

    facts: Mapping[str, Any]
    costs: Mapping[str, Any]
    record: TrackRecord | None
    calibrated: float

    def __str__(self) -> str:
        facts = self.facts
        lines = [
            f"{facts['cpu']}, {facts['cores']:g} usable of {facts['cores_present']} cores, {facts['kernel']}",
            f"{facts['implementation']} {facts['python']}"
            + (", with a GIL" if self.costs["gil"] else ", free-threaded"),
            (
                f"{facts['cores']:g} processes at once do the work of {self.costs['parallel']:.2f} (memory-bound:"
                f" {self.costs['parallel_memory']:.2f}); handing over the GIL costs"
                f" {self.costs['handoff'] * 1e6:.1f} µs, waking a thread {self.costs['wake'] * 1e6:.0f} µs"
            ),
            *_interval_lines(self.costs),
            "",
            f"{'engine':<14}" + "".join(f"{name:>{width}}" for name, width in _COLUMNS.items()),
        ]
        lines += [_engine_line(name, cost) for name, cost in self.costs["engines"].items() if cost]
        lines += ["", _record_line(self.record)]
        age = time.strftime("%Y-%m-%d %H:%M", time.localtime(self.calibrated))
        lines.append(f"calibrated {age}; {_kept()}; measure again: whichever machine --recalibrate")
        return "\n".join(lines)


def _kept() -> str:
    try:
        return f"kept in {_cache.folder()}"
    except OSError as error:
        return f"not kept: {error}"


def _interval_lines(costs: Mapping[str, Any]) -> list[str]:
    """Say what the switch interval is and does, where there is a GIL."""
    if not costs["gil"]:
        return []
    line = f"switch interval {costs['switch_interval'] * 1e3:g} ms (sys.getswitchinterval()): beside a thread that runs"
    return [line + " Python, whoever comes back to the GIL waits that long"]


def _engine_line(name: str, cost: Mapping[str, float]) -> str:
    def unit(seconds: float) -> str:
        return f"{seconds * 1e3:.1f} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.1f} µs"  # noqa: PLR2004

    columns = [cost.get(key, 0.0) for key in ("start", "start_worker", "message", "task")]
    columns += [(cost.get(key, 0.0) + cost.get("byte_worker", 0.0)) * 1e6 for key in ("byte_in", "byte_out")]
    widths = zip(columns, _COLUMNS.values(), strict=True)
    return f"{name:<14}" + "".join(f"{unit(seconds):>{width}}" for seconds, width in widths)


def _record_line(record: TrackRecord | None) -> str:
    if record is None:
        return "no verified verdict yet: pass verify=True (or --verify) to compare forecasts with real runs"
    return (
        f"{record.verdicts} verified verdicts here: the best engine (within 5 %) in {record.best_chosen:.0%},"
        f" at worst {record.worst_regret:.2f}x its time; {record.forecasts} forecasts off by"
        f" {record.median_error:.0%} in the middle, {record.within_20:.0%} of them within 20 %"
    )


def has_gil() -> bool:
    """Say whether this interpreter runs one thread of Python at a time."""
    return bool(getattr(sys, "_is_gil_enabled", lambda: True)())


def facts() -> dict[str, Any]:
    """Name what the costs belong to: processor, cores, kernel, interpreter, versions."""
    return {
        "cpu": _cpu(),
        "cores": _core.usable_cores()["cores"],
        "cores_present": os.cpu_count() or 1,
        "kernel": f"{platform.system()} {platform.release()}",
        "implementation": platform.python_implementation(),
        "python": platform.python_version(),
        "build": " ".join(platform.python_build()),
        "executable": sys.executable,
        "gil": has_gil(),
        "whichever": _core.__version__,
    }


def machine(*, recalibrate: bool = False) -> Machine:
    """Give this machine's costs, measuring them (under 3 s) when they are not known yet.

    Args:
        recalibrate: Measure again, for example after the machine was busy the first time.
    """
    known = facts()
    name = _file_name(known)
    with _calibrating:
        cached = None if recalibrate else _read(name)
        if cached is None:
            from whichever.advisor import _calibrate  # noqa: PLC0415 - it loads every engine

            cached = {
                "form": _FORM,
                "facts": known,
                "calibrated": time.time(),
                "costs": _calibrate.calibrate(),
            }
            _cache.save(name, cached)
            _fresh[name] = cached
    costs = _current(cached["costs"])
    return Machine(facts=known, costs=costs, record=track_record(), calibrated=cached["calibrated"])


def known_costs(cores: int) -> dict[str, Any]:
    """Give this machine's costs if they were measured, else what machines cost typically. Takes no time.

    Args:
        cores: How many of the usable cores are for whoever asks: see `cores_left`.
    """
    cached = _read(_file_name(facts()))
    if cached is not None:
        return _shared({**cached["costs"], "switch_interval": sys.getswitchinterval()}, cores)
    usable = float(_core.usable_cores()["cores"])
    costs: dict[str, Any] = json.loads(_core.typical_costs(usable, has_gil(), sys.getswitchinterval()))
    return _shared(costs, cores)


def _current(costs: Mapping[str, Any]) -> dict[str, Any]:
    """Return measured costs with what may have changed since: how long a switch takes, and whose the cores are."""
    return _shared({**costs, "switch_interval": sys.getswitchinterval()}, cores_left())


def _shared(costs: dict[str, Any], left: int) -> dict[str, Any]:
    """Return the costs as they are here: inside a worker of a pool, its share of the cores is all that counts."""
    if left >= int(costs["cores"]):
        return costs
    cores = float(left)
    part = (cores - 1.0) / (costs["cores"] - 1.0) if costs["cores"] > 1.0 else 0.0
    gained = {name: 1.0 + (costs[name] - 1.0) * part for name in ("parallel", "parallel_memory")}
    return {**costs, "cores": cores, **gained}


_calibrating = threading.Lock()
"""One calibration at a time: two would measure each other."""
_fresh: dict[str, dict[str, Any]] = {}
"""Costs measured by this process, by file name; guarded by `_calibrating`, for homes that cannot be written."""


def _read(name: str) -> dict[str, Any] | None:
    cached = _fresh.get(name) or _cache.load(name)
    whole = cached is not None and cached.get("form") == _FORM and isinstance(cached.get("costs"), dict)
    return cached if whole else None


def is_calibrated() -> bool:
    """Say whether the costs are known already, so that asking for them takes no time."""
    return _read(_file_name(facts())) is not None


def _file_name(known: Mapping[str, Any]) -> str:
    text = repr(sorted(known.items()))
    return f"costs-{known['python']}-{hashlib.blake2b(text.encode(), digest_size=6).hexdigest()}.json"


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith(("model name", "Model")):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def track_record(records: Sequence[Mapping[str, Any]] | None = None) -> TrackRecord | None:
    """Sum up verified verdicts: all that are on record here, or those given."""
    entries = _cache.records(RECORDS) if records is None else records
    errors: list[float] = []
    regrets: list[float] = []
    for entry in entries:
        runs = entry.get("runs", [])
        errors += [
            abs(run["predicted"] - run["measured"]) / run["measured"] for run in runs if run["measured"] > 0
        ]
        regrets += [entry["regret"]] if "regret" in entry else []
    if not errors or not regrets:
        return None
    return TrackRecord(
        verdicts=len(regrets),
        forecasts=len(errors),
        median_error=statistics.median(errors),
        within_20=sum(error <= _CLOSE for error in errors) / len(errors),
        best_chosen=sum(regret <= _TIE for regret in regrets) / len(regrets),
        worst_regret=max(regrets),
    )
