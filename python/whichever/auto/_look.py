"""A look at a function's tasks: the first items of a map run in the caller's thread, at first just timed.

Only when what is left seems to be worth a decision are they metered, and compared with what they may change: a map
that is over in some milliseconds pays for none of that.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from whichever._types import COPYING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from whichever._types import EngineName
    from whichever.advisor._effects import Watch
    from whichever.auto._home import Home
    from whichever.auto._knowledge import Knowledge
    from whichever.meter import Meter

_WORTH_SECONDS = 0.015
"""Of work left: below that no engine is worth starting."""
_SERIOUS_SECONDS = 0.3
"""From here on processes may be, and what decides for them may be loaded."""
_SERIOUS_OPEN_SECONDS = 0.03
"""The same when they have been started already."""
_ENOUGH_SECONDS = 0.06
_ENOUGH_SHARE = 0.03
"""Of the work left: no longer are tasks looked at before one engine is chosen, which the others may yet beat."""
_LEAST_SECONDS = 0.012
_SPRINT_SECONDS = 0.002
"""Of plain loops, so that the length even of tiny tasks is known."""
TINY_SECONDS = 4e-7
_WATCH_SECONDS = 0.05
_WATCHED_ALL = 3
"""Items that are compared with what they were before, each of them; after that ever fewer."""
_PAYLOADS = 3


@dataclass(frozen=True, slots=True)
class Choice:
    """Where tasks are to go on.

    Attributes:
        engine: The engine.
        workers: How many workers.
        reason: Why, in words.
        rivals: Engines that might yet be faster, to be tried.
        tried_seconds: How long each trial may take.
        pace: Seconds that are expected to pass for each task; 0 where that is not known.
    """

    engine: EngineName
    workers: int
    reason: str
    rivals: tuple[tuple[EngineName, int], ...] = ()
    tried_seconds: float = 0.0
    pace: float = 0.0


class Look:
    """Runs items here and says when enough is known.

    Args:
        home: Knows the function, or will.
        fn: The function.
        star: Whether an item is a tuple of arguments.
        kwargs: Keywords that every call gets.
    """

    def __init__(
        self, home: Home, fn: Callable[..., Any], *, star: bool, kwargs: Mapping[str, Any] | None = None
    ) -> None:
        self._home, self._fn = home, fn
        self._kwargs = kwargs or {}
        self._star = star
        self._seconds = 0.0
        self._serious_seconds = 0.0
        self._serious_since = 0.0
        self._count = 0
        self._meter: Meter | None = None
        self._watch: Watch | None = None
        self._pairs: list[tuple[Any, Any]] = []

    def is_metering(self) -> bool:
        """Say whether tasks are metered now."""
        return self._meter is not None

    def is_serious(self) -> bool:
        """Say whether tasks have been metered."""
        return self._serious_seconds > 0.0

    def next_sprint(self) -> int:
        """Return how many items to run before the next look at the clock: twice as many as before."""
        return max(self._count, 1)

    def note(self, count: int, seconds: float) -> bool:
        """Take in how long items took that were run in a plain loop. False when that tells enough of their length."""
        self._count += count
        self._seconds += seconds
        return self._seconds < _SPRINT_SECONDS

    def call(self, item: Any) -> Any:
        """Run the task of `item`."""
        args = item if self._star else (item,)
        meter, watched, given = self._meter, False, item
        if meter is not None:
            given = self._given(item)
            watched = self._begin_watching(given)
        begin = time.perf_counter()
        try:
            result = self._run(args)
        finally:
            seconds = time.perf_counter() - begin
            self._seconds += seconds
            self._count += 1
            if meter is not None:
                self._serious_seconds += seconds
        if meter is not None:
            if watched:
                self._end_watching(given)
            if len(self._pairs) < _PAYLOADS or self._count & (self._count - 1) == 0:
                self._pairs.append((given, result))
        return result

    def _given(self, item: Any) -> Any:
        """Return all that a task gets: what it may change, and what would have to travel."""
        return (*item, *self._kwargs.values()) if self._kwargs else item

    def _run(self, args: Any) -> Any:
        meter = self._meter
        if meter is None:
            return self._fn(*args, **self._kwargs)
        if not self._kwargs:
            return meter.call(self._fn, *args)
        meter.begin()
        try:
            result = self._fn(*args, **self._kwargs)
        except BaseException:
            meter.end(returned=False)
            raise
        meter.end()
        return result

    def mean(self) -> float:
        """Return the seconds of a task, on average."""
        return self._seconds / max(self._count, 1)

    def think(self, left: int, item: Any) -> Choice | None:
        """Choose, if enough is known for the `left` tasks; `item` is one of them, to be inspected."""
        ahead = self.mean() * left
        if ahead < _WORTH_SECONDS:
            return Choice("serial", 1, "what is left takes less than starting anything")
        if self.mean() < TINY_SECONDS:
            return Choice("serial", 1, "a task takes less than handing it to anybody")
        if self._meter is None:
            opened = self._home.stable.open_engines() & {"processes", "interpreters"}
            if ahead < (_SERIOUS_OPEN_SECONDS if opened else _SERIOUS_SECONDS):
                return Choice("serial", 1, "what is left takes less than starting processes")
            self.become_serious(item)
            return None
        enough = max(_LEAST_SECONDS, min(_ENOUGH_SECONDS, _ENOUGH_SHARE * ahead))
        # Looking at tiny tasks takes longer than they do: that is bounded too.
        if self._serious_seconds < enough and time.perf_counter() - self._serious_since < 2 * enough:
            return None
        return self.decide(left)

    def become_serious(self, item: Any, *, rate_hz: float = 1000.0) -> None:
        """Meter and compare from now on; `item` is the next one."""
        from whichever.advisor._effects import (  # noqa: PLC0415 - 30 ms that short maps do not pay
            Watch,
            exclusions_before,
            inspect_function,
        )
        from whichever.meter import Meter  # noqa: PLC0415

        know = self._home.knowledge(self._fn)
        if not know.is_checked:
            try:
                given = self._given(item)
                reach = inspect_function(know.fn, given)
                know.learn_reach(reach, exclusions_before(know.fn, given, reach))
                if not know.copies_are_excluded():
                    self._watch = Watch(know.fn, reach, budget=_WATCH_SECONDS)
            except Exception as error:  # noqa: BLE001 - what is read belongs to other threads, which may change it
                self._give_up_watching(error)
        self._serious_since = time.perf_counter()
        self._meter = Meter(rate_hz=rate_hz)
        self._meter.__enter__()

    def _begin_watching(self, item: Any) -> bool:
        count = len(self._pairs)
        if self._watch is None or (count >= _WATCHED_ALL and count & (count - 1)):
            return False
        try:
            self._watch.before(item)
        except Exception as error:  # noqa: BLE001 - as above
            self._give_up_watching(error)
            return False
        return True

    def _end_watching(self, item: Any) -> None:
        if self._watch is None:
            return
        try:
            self._watch.after(item)
        except Exception as error:  # noqa: BLE001 - as above
            self._give_up_watching(error)

    def _give_up_watching(self, error: Exception) -> None:
        """What cannot be looked at while it changes must not be copied."""
        self._watch = None
        reason = (
            f"could not be looked at ({type(error).__name__}: {error}): something else changes it meanwhile"
        )
        self._home.knowledge(self._fn).exclude(dict.fromkeys(COPYING, reason))

    def decide(self, left: int) -> Choice:
        """Choose for `left` tasks by what is known."""
        know, meter = self._home.knowledge(self._fn), self._meter
        assert meter is not None  # noqa: S101 - it became serious
        know.learn_ledger(meter.ledger_json(), meter.task_seconds)
        if self._watch is not None:
            know.exclude(self._watch.exclusions())
            know.is_checked = True
        if know.case.payload is None and "processes" not in know.case.excluded:
            from whichever.advisor._payload import measure_payload  # noqa: PLC0415 - as above

            items, results = zip(*self._pairs, strict=True)
            know.learn_payload(measure_payload(know.fn, list(items), list(results)))
        return choose(know, left, self._home.stable.open_engines())

    def close(self) -> None:
        """End the meter."""
        meter, self._meter = self._meter, None
        if meter is not None:
            meter.__exit__(None, None, None)


def choose(know: Knowledge, left: int, open_engines: set[EngineName]) -> Choice:
    """Ask the model where `left` tasks are to run."""
    answer = know.ask(left, open_engines)
    first = answer.forecasts[0]
    workers = first.workers if know.most is None else min(first.workers, know.most)
    rivals = tuple(
        (contender.engine, contender.workers if know.most is None else min(contender.workers, know.most))
        for contender in answer.contenders
        if contender.engine != answer.engine
    )
    reason = answer.reasons[0] if answer.reasons else f"expected {answer.speedup:.1f}x as fast as a loop"
    return Choice(
        answer.engine, workers, reason, rivals, max(0.02, 0.03 * first.seconds), first.seconds / max(left, 1)
    )
