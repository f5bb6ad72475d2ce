"""The verdict of an auto pool, made when somebody asks for it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from whichever._types import Ledger
from whichever.advisor import Verdict
from whichever.advisor._machine import facts
from whichever.auto._decision import name_of
from whichever.errors import NoItemsError
from whichever.meter._meter import ledger_of

if TYPE_CHECKING:
    from whichever.auto._home import Home


def verdict_of(home: Home) -> Verdict:
    """Say what the latest decision was and what it stands on.

    Raises:
        NoItemsError: There was none.
    """
    latest = home.latest
    if latest is None:
        msg = "the pool has decided nothing yet: it does with the first task or map"
        raise NoItemsError(msg)
    know = home.latest_knowledge
    if know is None or name_of(know.fn) != latest.function or know.answer is None:
        return Verdict(
            name=latest.function,
            engine=latest.engine,
            workers=latest.workers,
            speedup=1.0,
            ledger=_nothing(),
            forecasts=(),
            samples=(),
            reasons=(latest.reason,),
            tasks=latest.done,
            machine=facts(),
        )
    answer, case = know.answer, know.case
    chosen = next(
        (forecast for forecast in answer.forecasts if forecast.engine == latest.engine), answer.forecasts[0]
    )
    others = tuple(forecast for forecast in answer.forecasts if forecast is not chosen)
    reasons = answer.reasons if latest.reason in answer.reasons else (latest.reason, *answer.reasons)
    return Verdict(
        name=latest.function,
        engine=latest.engine,
        workers=latest.workers,
        speedup=chosen.speedup,
        ledger=ledger_of(json.loads(case.ledger)) if know.is_metered else _nothing(),
        forecasts=(chosen, *others),
        samples=(),
        excluded=dict(case.excluded),
        reasons=reasons,
        advice=answer.advice,
        tasks=case.tasks,
        machine=facts(),
    )


def _nothing() -> Ledger:
    """Return the ledger of no task."""
    return Ledger(
        wall=0.0, held=0.0, released=0.0, waiting=0.0, queued=0.0, blocked={}, standard_error={}, gil=True,
        tasks=0, samples=0, rate_hz=0.0,
    )  # fmt: skip
