"""Runs a few items in this thread under the meter, until the forecasts stand still or the budget is used."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from whichever._types import Failure
from whichever.advisor._blockers import LoopWatch
from whichever.advisor._neighbours import Neighbours
from whichever.advisor._payload import measure_payload
from whichever.errors import NoItemsError, TaskError, WhicheverError
from whichever.meter import Meter

if TYPE_CHECKING:
    from collections.abc import Callable

    from whichever.advisor._effects import Watch
    from whichever.advisor._feed import Feed
    from whichever.advisor._judge import Case

_LEAST_ITEMS = 5
"""The budget holds for at least this many items, however long they are."""
_LEAST_BEFORE_JUDGING = 3
_FIRST_JUDGEMENT_S = 0.02
_SHARE = 0.6
"""Share of the budget for sampling; trials get the rest."""
_SHARE_OF_ITEMS = 0.3
"""Share of the items to sample at most, when trials need some as well."""
_SHARE_OF_UNEVEN_ITEMS = 0.6
_UNEVEN = 0.08
"""Relative error of the mean task above which more samples tell more than a trial."""
_FAILURES_BEFORE_GIVING_UP = 5
_PAYLOADS = 5


@dataclass(slots=True)
class Sampled:
    """What sampling gave: results by position, failures, seconds spent."""

    items: dict[int, Any] = field(default_factory=dict)
    results: dict[int, Any] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, index: int, item: Any, result: Any) -> None:
        """Keep the result of an item."""
        self.items[index] = item
        self.results[index] = result

    def fail(self, index: int, item: Any, error: BaseException) -> None:
        """Keep what an item's task raised; too many with no success end the question."""
        self.keep_failure(index, item, error)
        if not self.results and len(self.failures) >= _FAILURES_BEFORE_GIVING_UP:
            self.give_up()

    def keep_failure(self, index: int, item: Any, error: BaseException) -> None:
        """Keep what an item's task raised, whatever happened to the others."""
        self.items[index] = item
        self.failures.append(Failure(index=index, item=item, error=error))

    def give_up(self) -> None:
        """Raise for a function that failed on every item it was given."""
        first = self.failures[0]
        kind = type(first.error).__name__
        msg = (
            f"the function raised on every one of the {len(self.failures)} items tried, first {kind} on item"
            f" {first.index}: {first.error}"
        )
        raise TaskError(msg, first.index) from first.error


class Sampler:
    """Samples items of one question.

    Args:
        fn: The function, or coroutine function.
        feed: Where the items come from.
        watch: Compares arguments and globals before and after some of the tasks.
        case: Is brought up to date each time the model is asked.
        budget: Seconds for sampling and trials together; longer when five items take longer.
    """

    def __init__(self, fn: Callable[[Any], Any], feed: Feed, watch: Watch, case: Case, budget: float) -> None:
        self._fn = fn
        self._feed = feed
        self._watch = watch
        self._case = case
        self._budget = budget
        self._process = os.getpid()
        self._calls = 0
        self.sampled = Sampled()
        self.meter = Meter()
        self._neighbours = Neighbours()
        self._begin = time.perf_counter()
        self._next_judgement = _FIRST_JUDGEMENT_S

    def run(self) -> Sampled:
        """Sample until stable; afterwards the case holds the ledger, and the meter the timeline."""
        with self.meter:
            self._neighbours = Neighbours()
            self._begin = time.perf_counter()
            if self._case.coroutine:
                self._run_coroutines()
            else:
                self._run_calls()
            self.sampled.seconds = time.perf_counter() - self._begin
        if not self.sampled.results:
            if self.sampled.failures:
                self.sampled.give_up()
            msg = "the iterable gave no item, so there is nothing to measure: pass at least one"
            raise NoItemsError(msg)
        self.bring_up_to_date()
        return self.sampled

    def total_budget(self) -> float:
        """Give the seconds for sampling and trials: the budget, or five items when they take longer."""
        done = max(len(self.sampled.items), 1)
        return max(self._budget, _LEAST_ITEMS * self.sampled.seconds / done)

    def bring_up_to_date(self) -> None:
        """Write what is known now into the case."""
        case, sampled = self._case, self.sampled
        case.ledger = self.meter.ledger_json()
        case.task_seconds = self.meter.task_seconds
        case.others_busy = self._neighbours.busy()
        case.tasks = max(self._feed.tasks, len(sampled.items))
        if case.payload is None and "processes" not in case.excluded:
            pairs = list(sampled.results.items())[:: max(len(sampled.results) // _PAYLOADS, 1)][:_PAYLOADS]
            items = [sampled.items[index] for index, _ in pairs]
            case.payload = measure_payload(self._fn, items, [result for _, result in pairs])
            if case.payload.error is not None:
                for engine in ("processes", "interpreters"):
                    case.excluded.setdefault(engine, case.payload.error)

    def _run_calls(self) -> None:
        while self._wants_more() and (taken := self._feed.take()) is not None:
            index, item = taken
            watched = self._watch_before(item)
            try:
                result = self.meter.call(self._fn, item)
            except (KeyboardInterrupt, GeneratorExit):
                raise
            except BaseException as error:  # noqa: BLE001 - sys.exit in a task is the task's failure, not ours
                self._same_process()
                self.sampled.fail(index, item, error)
            else:
                self._same_process()
                self.sampled.add(index, item, result)
                if watched:
                    self._watch.after(item)

    def _run_coroutines(self) -> None:
        with LoopWatch(self.meter) as blockers:
            asyncio.run(self._await_each())
        self._case.loop_blockers = blockers.found()

    async def _await_each(self) -> None:
        while self._wants_more() and (taken := self._feed.take()) is not None:
            index, item = taken
            watched = self._watch_before(item)
            self.meter.begin()
            try:
                result = await self._fn(item)
            except (KeyboardInterrupt, GeneratorExit, asyncio.CancelledError):
                self.meter.end(returned=False)
                raise
            except BaseException as error:  # noqa: BLE001 - as above
                self.meter.end(returned=False)
                self.sampled.fail(index, item, error)
            else:
                self.meter.end()
                self.sampled.add(index, item, result)
                if watched:
                    self._watch.after(item)

    def _same_process(self) -> None:
        if os.getpid() != self._process:
            msg = "the function forked and came back in the child too; only the parent goes on measuring"
            raise WhicheverError(msg)

    def _wants_more(self) -> bool:
        done = len(self.sampled.items)
        elapsed = time.perf_counter() - self._begin
        self.sampled.seconds = elapsed
        if done < _LEAST_BEFORE_JUDGING or elapsed < self._next_judgement:
            return True
        self._next_judgement = max(2 * self._next_judgement, elapsed * 1.2)
        if self.sampled.results:
            self.bring_up_to_date()
            answer = self._case.answer()
            share = _SHARE_OF_ITEMS if answer.sampling_error < _UNEVEN else _SHARE_OF_UNEVEN_ITEMS
            enough = done >= max(share * self._case.tasks, _LEAST_ITEMS)
            if answer.stable or (answer.contenders and enough):
                return False
        return elapsed < _SHARE * self.total_budget() or (done < _LEAST_ITEMS and elapsed < self._budget)

    def _watch_before(self, item: Any) -> bool:
        """Look at every one of the first items, then ever more rarely."""
        self._calls += 1
        rare = self._calls & (self._calls - 1) == 0
        if self._calls > _LEAST_ITEMS and not rare:
            return False
        self._watch.before(item)
        return True
