"""What the table, the report and the notebook say of a verdict, so that all three say the same.

Nothing here decides anything: the verdict is read, ordered for reading and put in words.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from whichever._types import BLOCKED_KINDS
from whichever.advisor._units import clean, plural, seconds_text, short_repr, speedup_text

if TYPE_CHECKING:
    from whichever._types import Forecast, Ledger, VerdictData

LIMITS: dict[str, str] = {
    "gil": "one thread at a time holds the GIL",
    "cores": "all usable cores are busy",
    "payload": "moving arguments and results between processes costs more than it saves",
    "wait": "tasks wait, and only so many wait at once",
    "overhead": "handing out the tasks takes as long as doing them",
    "child": "child processes take the cores",
    "tail": "the last tasks run while other workers have nothing left to do",
}
"""What each limit word means, for people; ``nothing`` needs no explanation."""

STATES: dict[str, str] = {
    "held": "Python code, holding the GIL",
    "released": "native code on a core, GIL released",
    "waiting": "waiting for the GIL",
    "queued": "ready to run, but the cores were taken",
}
"""What each state means; a blocked state says its kind in its own name."""

_BLOCKED: dict[str, str] = {
    "network": "off-CPU: a socket",
    "file": "off-CPU: a file or a disk",
    "pipe": "off-CPU: a pipe",
    "lock": "off-CPU: a lock other than the GIL",
    "sleep": "off-CPU: asleep",
    "poll": "off-CPU: waiting for several descriptors",
    "child": "off-CPU: waiting for a child process",
    "terminal": "off-CPU: a terminal",
    "unknown": "off-CPU: in a call that cannot be told",
}

SMALLEST_SHARE = 0.005
"""Parts of the ledger below this share are left out where space is short."""


@dataclass(frozen=True, slots=True)
class LedgerPart:
    """One part of a ledger, ready to be shown.

    Attributes:
        state: held, released, waiting, queued or blocked:KIND.
        label: A short name, such as "blocked: network".
        meaning: The same in a few words.
        seconds: Mean per task.
        share: Of wall time, 0 to 1.
        standard_error: One standard error of `seconds`.
    """

    state: str
    label: str
    meaning: str
    seconds: float
    share: float
    standard_error: float


def choice_text(engine: str, workers: int) -> str:
    """Say an engine and its workers: 'processes with 2 workers', 'async with 64 tasks in flight'."""
    if engine == "serial":
        return "serial"
    if engine == "async":
        return f"async with {plural(workers, 'task')} in flight"
    return f"{engine} with {plural(workers, 'worker')}"


def state_label(state: str, *, gil: bool) -> str:
    """Name a state in a word or two; what a free-threaded build does on a core is 'running'."""
    if state == "released" and not gil:
        return "running"
    return clean(state.replace(":", ": "))


def state_meaning(state: str, *, gil: bool) -> str:
    """Explain a state in a few words."""
    if state == "released" and not gil:
        return "on a core, Python or native (there is no GIL)"
    if state in STATES:
        return STATES[state]
    return _BLOCKED.get(state.removeprefix("blocked:"), "off-CPU")


def ledger_parts(ledger: Ledger) -> tuple[LedgerPart, ...]:
    """Split a ledger into its parts: the four states first, then each blocked kind that occurred."""
    seconds = {state: getattr(ledger, state) for state in STATES}
    known = [kind for kind in BLOCKED_KINDS if kind in ledger.blocked]
    seconds |= {f"blocked:{kind}": ledger.blocked[kind] for kind in known}
    whole = ledger.wall or sum(seconds.values()) or 1.0
    return tuple(
        LedgerPart(
            state=state,
            label=state_label(state, gil=ledger.gil),
            meaning=state_meaning(state, gil=ledger.gil),
            seconds=value,
            share=value / whole,
            standard_error=ledger.standard_error.get(state.removeprefix("blocked:"), 0.0),
        )
        for state, value in seconds.items()
    )


def serial_forecast(verdict: VerdictData) -> Forecast | None:
    """Find the forecast that the others are compared with."""
    return next((f for f in verdict.forecasts if f.engine == "serial"), None)


def chosen_forecast(verdict: VerdictData) -> Forecast | None:
    """Find the forecast of the engine and worker count that the verdict names."""
    wanted = (verdict.engine, verdict.workers)
    return next((f for f in verdict.forecasts if (f.engine, f.workers) == wanted), None)


def best_speedup(verdict: VerdictData, forecast: Forecast) -> float:
    """Give a forecast's speed-up: measured where both it and serial were run, else predicted."""
    serial = serial_forecast(verdict)
    if serial is None or not serial.measured or not forecast.measured:
        return forecast.speedup
    return serial.measured / forecast.measured


def ranked(verdict: VerdictData) -> list[Forecast]:
    """Order the forecasts for reading: the chosen one first, then the fastest."""
    chosen = chosen_forecast(verdict)
    others = [f for f in verdict.forecasts if f is not chosen]
    others.sort(key=lambda f: (f.seconds if f.measured is None else f.measured, f.workers))
    return others if chosen is None else [chosen, *others]


def headline(verdict: VerdictData) -> str:
    """Say the answer in one line."""
    return " ".join(filter(None, answer(verdict)))


def answer(verdict: VerdictData) -> tuple[str, str]:
    """Say the answer, and apart from it what stands behind it in brackets (empty when there is nothing)."""
    if verdict.engine == "serial":
        return _serial_answer(verdict)
    choice = choice_text(verdict.engine, verdict.workers)
    speedup = speedup_text(verdict.speedup)
    compared = "as fast as serial" if speedup == "as fast" else f"{speedup} than serial"
    chosen = chosen_forecast(verdict)
    return f"{choice}, {compared}", f"(limit: {clean(chosen.limit)})" if chosen else ""


def _serial_answer(verdict: VerdictData) -> tuple[str, str]:
    best: dict[str, str] = {}
    for forecast in ranked(verdict):
        if forecast.engine != "serial":
            best.setdefault(forecast.engine, speedup_text(best_speedup(verdict, forecast)))
    if not best:
        return "serial, no other engine can run this", ""
    faster = any(speedup.endswith("faster") for speedup in best.values())
    others = ", ".join(f"{engine} {speedup}" for engine, speedup in best.items())
    return f"serial, no engine is {'worth it' if faster else 'faster'}", f"({others})"


def subject(verdict: VerdictData) -> str:
    """Say what was asked and how the answer was found, in one line."""
    ledger = verdict.ledger
    tasks = f"{plural(verdict.tasks, 'task')} of {seconds_text(ledger.wall)}"
    verified = "verified by real runs" if verdict.verified else "not verified"
    return f"{clean(verdict.name)}: {tasks}, {ledger.tasks:,} sampled, {verified}"


def failures_text(verdict: VerdictData) -> str:
    """Say how many sampled tasks raised, and what the first one raised."""
    first = verdict.failures[0]
    ran = plural(len(verdict.failures) + len(verdict.samples), "sampled task")
    return f"{len(verdict.failures)} of {ran} raised; item {first.index}: {short_repr(first.error)}"
