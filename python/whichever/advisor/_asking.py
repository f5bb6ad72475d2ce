"""One question from start to verdict: what is sampled, tried and verified, in which order.

Guarantees: an item that was taken is in the samples or among the failures, and ran once (verifying runs all again).
"""

from __future__ import annotations

import asyncio
import contextvars
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from whichever import _cache
from whichever.advisor._effects import Watch, exclusions_before, inspect_function
from whichever.advisor._judge import Answer, Case, Contender
from whichever.advisor._machine import RECORDS, Machine, is_calibrated, machine
from whichever.advisor._sampling import Sampled, Sampler
from whichever.advisor._trials import planned_items, run_trial, verify
from whichever.advisor._verdict import Verdict
from whichever.errors import EngineError
from whichever.executors import ENGINES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from whichever._types import EngineName, Forecast, Ledger
    from whichever.advisor._effects import Reach
    from whichever.advisor._feed import Feed

_asking: contextvars.ContextVar[bool] = contextvars.ContextVar("whichever_asking", default=False)
"""Set while a question is being answered: a question inside a task is answered by the model alone."""

_LEAST_TRIAL_S = 0.05
_MUCH_MEMORY_PAGES = 25_000
"""Pages that all tasks touch for the first time, about 100 MB, from which first touches show in the run time."""
_WATCH_SHARE = 0.2
"""Share of the budget for comparing arguments and state before and after a task."""
_NOT_ONLY_MODULES = frozenset({"__main__", "builtins", "whichever", "sys"})


class Asking:
    """One call of `which`, step by step: prepare, sample, try, verify, judge."""

    def __init__(
        self,
        fn: Callable[[Any], Any],
        feed: Feed,
        *,
        engines: Sequence[EngineName] | None,
        workers: int | None,
        budget: float,
        progress: Callable[[str], None] | None,
    ) -> None:
        self.fn = fn
        self.feed = feed
        self.budget = budget
        self.say = progress or (lambda _: None)
        first = feed.peek()
        self.reach: Reach = inspect_function(fn) if first is None else inspect_function(fn, first[1])
        self.case = Case(
            costs={}, coroutine=self.reach.kind == "coroutine", engines=tuple(engines or ()), workers=workers
        )
        self.nested = _asking.get()

    def answered(self, *, verify_all: bool) -> Verdict:
        token = _asking.set(True)
        try:
            if not is_calibrated():
                self.say("measuring this machine once, about 3 s")
            here = machine()
            return self._answered(here, verify_all=verify_all and not self.nested)
        finally:
            _asking.reset(token)

    def _answered(self, here: Machine, *, verify_all: bool) -> Verdict:
        self._prepare(here)
        name = getattr(self.fn, "__qualname__", type(self.fn).__qualname__)
        self.say(f"sampling {name}")
        watch = Watch(self.fn, self.reach, budget=_WATCH_SHARE * self.budget)
        sampler = Sampler(self.fn, self.feed, watch, self.case, self.budget)
        sampled = sampler.run()
        for engine, reason in watch.exclusions().items():
            self.case.excluded.setdefault(engine, reason)
        predicted = self._tried(sampler)
        answer = self._verified(sampled) if verify_all else predicted
        return self._verdict(name, answer, sampler, here, watch.notes())

    def _prepare(self, here: Machine) -> None:
        case = self.case
        case.costs = here.costs
        case.tasks = self.feed.tasks
        for name, engine in ENGINES.items():
            reason = engine.unavailable(self.fn) if name != "serial" else None
            if reason is not None:
                case.excluded[name] = reason
        first = self.feed.peek()
        if first is not None:
            for name, reason in exclusions_before(self.fn, first[1], self.reach).items():
                case.excluded.setdefault(name, reason)
        tops = {name.partition(".")[0] for name in self.reach.modules} - _NOT_ONLY_MODULES
        case.modules = sum(name.partition(".")[0] in tops for name in sys.modules)

    def _tried(self, sampler: Sampler) -> Answer:
        """Try contenders until none is left, or the budget or the items are."""
        answer = self.case.answer()
        left = sampler.total_budget() - sampler.sampled.seconds
        tried: set[str] = set()
        while answer.contenders and left > _LEAST_TRIAL_S and not self.nested:
            waiting = [contender for contender in answer.contenders if contender.engine not in tried]
            if not waiting:
                break
            begin = time.perf_counter()
            tried.add(waiting[0].engine)
            self._try(waiting[0], answer.forecasts, left / len(waiting), len(waiting), sampler.sampled)
            left -= time.perf_counter() - begin
            answer = self.case.answer()
        return answer

    def _try(
        self,
        contender: Contender,
        forecasts: Sequence[Forecast],
        seconds: float,
        rivals: int,
        sampled: Sampled,
    ) -> None:
        left = self.feed.left() // max(rivals, 2)
        forecast = _affordable(contender, forecasts, left)
        contender = Contender(forecast.engine, forecast.workers, forecast.chunksize)
        if self.feed.consumes:
            # What a cut-off trial leaves over is run here, one by one: no more than that fits the time.
            serial = next(f.seconds for f in forecasts if f.engine == "serial") / max(self.case.tasks, 1)
            left = min(left, contender.workers + int(seconds / max(serial, 1e-7)))
        number = planned_items(contender, forecast, self.case.tasks, seconds, left)
        taken = [pair for _ in range(number) if (pair := self.feed.take()) is not None]
        if len(taken) < contender.workers:
            self._keep_untried(taken, sampled)
            return
        self.say(f"trying {contender.engine}, {contender.workers} workers, {len(taken)} tasks")
        try:
            items = [item for _, item in taken]
            trial, outcomes = run_trial(
                self.fn, items, contender, modules=self.reach.modules, seconds=seconds
            )
        except EngineError as error:
            self.case.excluded[contender.engine] = f"its trial failed: {error}"
            for index, item in taken:
                sampled.keep_failure(index, item, error)
            return
        self.case.trials.append(trial)
        for outcome in outcomes:
            index, item = taken[outcome.index]
            if outcome.error is None:
                sampled.add(index, item, outcome.value)
            else:
                sampled.keep_failure(index, item, outcome.error)
        started = {outcome.index for outcome in outcomes}
        left_over = [pair for k, pair in enumerate(taken) if k not in started]
        if left_over and self.feed.consumes:
            self._keep_untried(left_over, sampled)

    def _keep_untried(self, taken: Sequence[tuple[int, Any]], sampled: Sampled) -> None:
        """Run what was taken off an iterator but is too little for a trial: nothing that was taken is lost."""
        if self.case.coroutine:
            asyncio.run(self._await_untried(taken, sampled))
            return
        for index, item in taken:
            try:
                sampled.add(index, item, self.fn(item))
            except (Exception, SystemExit) as error:  # noqa: BLE001 - the task's own
                sampled.keep_failure(index, item, error)

    async def _await_untried(self, taken: Sequence[tuple[int, Any]], sampled: Sampled) -> None:
        for index, item in taken:
            try:
                sampled.add(index, item, await self.fn(item))
            except (Exception, SystemExit) as error:  # noqa: BLE001 - the task's own
                sampled.keep_failure(index, item, error)

    def _verified(self, sampled: Sampled) -> Answer:
        items = self.feed.all_items(sampled.items)
        self.case.tasks = len(items)
        predicted = self.case.answer()
        best: dict[str, Forecast] = {}
        for forecast in predicted.forecasts:
            best.setdefault(forecast.engine, forecast)
        case = self.case
        pages = case.question()["ledger"]["minor_faults"] * case.tasks
        case.measured, failed = verify(
            self.fn,
            items,
            list(best.values()),
            modules=self.reach.modules,
            progress=self.say,
            repeat=pages > _MUCH_MEMORY_PAGES,
        )
        case.excluded.update(failed)
        if predicted.engine not in failed:
            _cache.append_record(RECORDS, _record(self.fn, predicted, case))
        return case.answer()

    def _verdict(
        self, name: str, answer: Answer, sampler: Sampler, here: Machine, notes: Sequence[str]
    ) -> Verdict:
        sampled, payload = sampler.sampled, self.case.payload
        reasons = list(answer.reasons)
        if self.case.measured:
            reasons.append(
                f"Verified: all {self.case.tasks} tasks ran again on every engine that has a measured time."
            )
        if self.feed.guessed:
            reasons.append(
                f"The iterable has no length: the forecasts are for {self.case.tasks} tasks; say count= if you know."
            )
        ledger: Ledger = sampler.meter.ledger()
        if payload is not None and payload.error is None:
            ledger = replace(
                ledger,
                payload_in_bytes=payload.in_bytes,
                payload_out_bytes=payload.out_bytes,
                pickle_in=payload.pickle_in,
                unpickle_in=payload.unpickle_in,
                pickle_out=payload.pickle_out,
                unpickle_out=payload.unpickle_out,
            )
        positions = sorted(sampled.results)
        return Verdict(
            name=name,
            engine=answer.engine,
            workers=answer.workers,
            speedup=answer.speedup,
            ledger=ledger,
            forecasts=answer.forecasts,
            samples=tuple((sampled.items[k], sampled.results[k]) for k in positions),
            positions=tuple(positions),
            failures=tuple(sorted(sampled.failures, key=lambda failure: failure.index)),
            excluded=dict(self.case.excluded),
            reasons=tuple(reasons),
            advice=(*answer.advice, *map(_sentence, notes)),
            tasks=self.case.tasks,
            verified=bool(self.case.measured),
            timeline=sampler.meter.timeline(),
            machine=dict(here.facts),
        )


def _affordable(contender: Contender, forecasts: Sequence[Forecast], left: int) -> Forecast:
    """Give the forecast to try: the contender's own, or one of its engine with fewer workers where items are few."""
    own = [forecast for forecast in forecasts if forecast.engine == contender.engine]
    fitting = [forecast for forecast in own if forecast.workers <= min(left, contender.workers)]
    return max(fitting or own, key=lambda forecast: forecast.workers)


def _sentence(note: str) -> str:
    return f"{note[:1].upper()}{note[1:]}."


def _record(fn: Callable[..., Any], predicted: Answer, case: Case) -> Mapping[str, Any]:
    """Sum up prediction against measurement, with the question, so that a better model can be asked again."""
    runs: list[dict[str, Any]] = []
    for run in case.measured:
        forecast = next(f for f in predicted.forecasts if (f.engine, f.workers) == (run.engine, run.workers))
        runs.append(
            {
                "engine": run.engine,
                "workers": run.workers,
                "predicted": forecast.seconds,
                "low": forecast.low,
                "high": forecast.high,
                "tried": forecast.trial is not None,
                "measured": run.seconds,
            }
        )
    chosen = next(run["measured"] for run in runs if run["engine"] == predicted.engine)
    question = case.question()
    question["measured"] = []
    return {
        "name": getattr(fn, "__qualname__", type(fn).__qualname__),
        "chosen": predicted.engine,
        "regret": chosen / min(run["measured"] for run in runs),
        "runs": runs,
        "question": question,
        "time": time.time(),
    }
