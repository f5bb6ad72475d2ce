"""What is known of one function's tasks, and what the model makes of it.

It grows: items that were run under the meter, short runs of engines, what excludes an engine. A later map of the same
function begins with it.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from whichever._types import COPYING, ENGINE_NAMES
from whichever.advisor._judge import Case, Trial
from whichever.advisor._machine import known_costs
from whichever.advisor._neighbours import Neighbours
from whichever.advisor._payload import Payload
from whichever.auto._memory import Recollection

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from whichever._types import EngineName
    from whichever.advisor._effects import Reach
    from whichever.advisor._judge import Answer

_NOT_ONLY_MODULES = frozenset({"__main__", "builtins", "whichever", "sys"})
_MAPPED_TASK_SECONDS = 3e-7
_LENGTHS = 500
"""Task lengths kept, the latest."""


class Knowledge:
    """See the module. One thread at a time uses it.

    Args:
        fn: The function.
        engines: Engines that may be chosen; empty for all.
        most: Most workers; None for what the model thinks best.
        cores: Cores that the pool may keep busy.
    """

    def __init__(
        self, fn: Callable[..., Any], engines: Sequence[EngineName], most: int | None, cores: int
    ) -> None:
        self.fn = fn
        self._cores = cores
        self.case = Case(costs=known_costs(cores), coroutine=False, engines=tuple(engines))
        self.most = most
        self.answer: Answer | None = None
        self.is_checked = False
        """Whether it was seen that tasks change nothing that copies would miss."""
        self.is_metered = False
        self.is_remembered = False
        """Whether it comes from another run, and nothing was metered in this one."""
        self._neighbours = Neighbours()
        for name, reason in _not_here().items():
            self.case.excluded.setdefault(name, reason)

    def learn_reach(self, reach: Reach, excluded: Mapping[EngineName, str]) -> None:
        """Take in what was found before anything ran."""
        for name, reason in excluded.items():
            self.case.excluded.setdefault(name, reason)
        tops = {name.partition(".")[0] for name in reach.modules} - _NOT_ONLY_MODULES
        self.case.modules = sum(name.partition(".")[0] in tops for name in sys.modules)

    def exclude(self, reasons: Mapping[EngineName, str]) -> None:
        """Rule engines out for good."""
        for name, reason in reasons.items():
            self.case.excluded.setdefault(name, reason)

    def copies_are_excluded(self) -> bool:
        """Whether no engine is possible that works on copies."""
        return all(name in self.case.excluded for name in COPYING)

    def learn_ledger(self, ledger_json: str, task_seconds: Sequence[float]) -> None:
        """Take in what the meter has seen; it replaces what was seen before."""
        self.case.ledger = ledger_json
        self.case.task_seconds = list(task_seconds)[-_LENGTHS:]
        self.case.trials = []  # they were of tasks that may have been others
        self.is_metered, self.is_remembered = True, False

    def learn_payload(self, payload: Payload) -> None:
        """Take in what arguments and results weigh."""
        self.case.payload = payload
        if payload.error is not None:
            self.exclude(dict.fromkeys(COPYING, payload.error))

    def learn_from(self, recollection: Recollection) -> None:
        """Take in what was learned in another run of the program."""
        self.learn_ledger(json.dumps(dict(recollection.ledger)), [recollection.wall])
        self.case.payload = Payload(**recollection.payload) if recollection.payload else None
        self.exclude(
            {name: recollection.excluded[name] for name in ENGINE_NAMES if name in recollection.excluded}
        )
        self.is_checked = self.is_remembered = True

    def wall(self) -> float:
        """Return the seconds of a task, as they were when it was metered."""
        return float(json.loads(self.case.ledger).get("wall", 0.0))

    def cpu(self) -> float:
        """Return the CPU seconds of a task, as it was metered; child processes not counted."""
        ledger = json.loads(self.case.ledger)
        parts = ledger.get("parts", {})
        return float(parts.get("held", 0.0) + parts.get("released", 0.0) + ledger.get("inner_cpu", 0.0))

    def queue_share(self) -> float:
        """Return the share of their time that tasks queued for a core when they were metered."""
        return float(json.loads(self.case.ledger).get("queue_share", 0.0))

    def recollection(self, engine: EngineName, workers: int, tasks: int, seconds: float) -> Recollection:
        """Return what is worth being remembered, of a run of so many tasks."""
        return Recollection(
            engine=engine,
            workers=workers,
            tasks=tasks,
            wall=self.wall(),
            ledger=json.loads(self.case.ledger),
            payload={} if self.case.payload is None else asdict(self.case.payload),
            excluded=dict(self.case.excluded),
            seconds=seconds,
            when=time.time(),
        )

    def learn_trial(self, engine: EngineName, workers: int, tasks: int, seconds: float) -> None:
        """Take in a short run; one of the same engine and workers before it is forgotten."""
        trial, same = Trial(engine, workers, tasks, seconds, 0.0), (engine, workers)
        self.case.trials = [old for old in self.case.trials if (old.engine, old.workers) != same]
        self.case.trials.append(trial)

    def ask(self, tasks: int, open_engines: set[EngineName]) -> Answer:
        """Ask the model about so many tasks; engines that are open already cost no start-up."""
        case = self.case
        costs: dict[str, Any] = known_costs(self._cores)
        costs = {
            **costs,
            "engines": {
                name: {**cost, "start": 0.0, "start_worker": 0.0} if name in open_engines else dict(cost)
                for name, cost in costs["engines"].items()
            },
        }
        processes = costs["engines"].get("processes")
        if processes:
            # The engine that was calibrated gives an outcome for each task; the pool's map gives results in batches.
            processes["task"] = min(processes.get("task", 0.0), _MAPPED_TASK_SECONDS)
        case.costs, case.tasks = costs, max(tasks, 1)
        case.others_busy = self._neighbours.busy()
        self._neighbours = Neighbours()
        self.answer = case.answer()
        return self.answer


def _not_here() -> dict[EngineName, str]:
    found: dict[EngineName, str] = {}
    if sys.version_info < (3, 14):
        found["interpreters"] = "needs CPython 3.14 or later"
    if not hasattr(os, "fork") or not sys.executable:
        found["processes"] = "this platform cannot fork worker processes from a template"
    return found
