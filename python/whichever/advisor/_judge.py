"""Asks the model: builds a question from what was measured and reads the answer. Decides nothing itself."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from whichever import _core
from whichever._types import EngineName, Forecast

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from whichever.advisor._payload import Payload

_LENGTHS_KEPT = 2000
"""Task lengths the model is shown at most: enough for any spread, few enough to pass on quickly."""

_PAYLOAD_FIGURES = (
    "in_bytes", "in_copied", "out_bytes", "pickle_in", "unpickle_in", "pickle_out", "unpickle_out",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Trial:
    """A short real run: how long `tasks` tasks took, and what start-up and closing took beside them."""

    engine: EngineName
    workers: int
    tasks: int
    seconds: float
    open_seconds: float


@dataclass(frozen=True, slots=True)
class Measurement:
    """A real run of all tasks, start-up included."""

    engine: EngineName
    workers: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Contender:
    """An engine that the model cannot tell from the best without a trial."""

    engine: EngineName
    workers: int
    chunksize: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the model says; see `VerdictData` for the fields they share."""

    forecasts: tuple[Forecast, ...]
    engine: EngineName
    workers: int
    speedup: float
    contenders: tuple[Contender, ...]
    stable: bool
    sampling_error: float
    reasons: tuple[str, ...]
    advice: tuple[str, ...]


@dataclass(slots=True, kw_only=True)
class Case:
    """All that is known of one question so far; grows while items are sampled and engines tried."""

    costs: Mapping[str, Any]
    coroutine: bool
    engines: Sequence[EngineName] = ()
    workers: int | None = None
    excluded: dict[str, str] = field(default_factory=dict)
    modules: int = 0
    tasks: int = 0
    ledger: str = "{}"
    task_seconds: Sequence[float] = ()
    payload: Payload | None = None
    trials: list[Trial] = field(default_factory=list)
    measured: list[Measurement] = field(default_factory=list)
    others_busy: float = 0.0
    loop_blockers: Sequence[str] = ()

    def question(self) -> dict[str, Any]:
        """Give the question in the model's form."""
        payload = (
            {}
            if self.payload is None
            else {key: getattr(self.payload, key) or 0.0 for key in _PAYLOAD_FIGURES}
        )
        return {
            "ledger": json.loads(self.ledger),
            "task_seconds": _thinned(self.task_seconds),
            "payload": payload,
            "costs": dict(self.costs),
            "tasks": self.tasks,
            "coroutine": self.coroutine,
            "modules": self.modules,
            "excluded": self.excluded,
            "engines": list(self.engines),
            "workers": self.workers,
            "trials": [asdict(trial) for trial in self.trials],
            "measured": [asdict(run) for run in self.measured],
            "others_busy": self.others_busy,
            "loop_blockers": list(self.loop_blockers),
        }

    def answer(self) -> Answer:
        """Ask the model."""
        given = json.loads(_core.decide(json.dumps(self.question())))
        return Answer(
            forecasts=tuple(Forecast(**forecast) for forecast in given["forecasts"]),
            engine=given["engine"],
            workers=given["workers"],
            speedup=given["speedup"],
            contenders=tuple(Contender(**contender) for contender in given["contenders"]),
            stable=given["stable"],
            sampling_error=given["sampling_error"],
            reasons=tuple(given["reasons"]),
            advice=tuple(given["advice"]),
        )


def _thinned(seconds: Sequence[float]) -> list[float]:
    """Keep the first, which may be a warm-up, and an even selection of the others."""
    if len(seconds) <= _LENGTHS_KEPT:
        return list(seconds)
    step = len(seconds) / _LENGTHS_KEPT
    return [seconds[int(k * step)] for k in range(_LENGTHS_KEPT)]
