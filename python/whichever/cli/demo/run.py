"""Run the jobs one after the other and set what the textbook says beside what was found."""

from __future__ import annotations

import importlib
import re
import sys
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from whichever.cli.demo import page
from whichever.cli.demo.figures import engine_and_workers
from whichever.cli.demo.server import ServerError
from whichever.cli.problems import CommandLineError, in_one_line
from whichever.errors import WhicheverError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from whichever import Verdict
    from whichever._types import EngineName
    from whichever.cli.demo.job import Job
    from whichever.cli.streams import ProgressLine

NAMES = (
    "primes", "words", "documents", "packing", "arrays", "adding", "reading",
    "downloads", "sockets", "coroutines", "handler", "pipeline", "sleepers",
)  # fmt: skip
"""Every job, as a module of this package; the computing ones first."""

BUDGET_SECONDS = 0.4
"""Sampling time per job: a quarter of the usual one second, as a job is only a second or two long."""

BUSY_SHARE = 0.10
"""Run-queue delay, as a share of wall time, above which a verdict says that the machine was too busy to tell."""


@dataclass(frozen=True, slots=True)
class Row:
    """One job and its verdict.

    Attributes:
        name: The job's short name.
        job: The job.
        verdict: Its verdict.
    """

    name: str
    job: Job
    verdict: Verdict

    @property
    def predicted(self) -> float:
        """The predicted speed-up of the engine in the verdict: what was said before anything was verified."""
        chosen = self.verdict.forecasts[0]
        serial = (each.seconds for each in self.verdict.forecasts if each.engine == "serial")
        return next(serial, chosen.seconds) / chosen.seconds

    @property
    def measured(self) -> float | None:
        """The measured speed-up of the engine in the verdict; None when it was not verified."""
        return self._measured_speedup(self.verdict.engine)

    @property
    def textbook_measured(self) -> float | None:
        """The measured speed-up of the engine that the textbook names."""
        return self._measured_speedup(self.job.textbook)

    @property
    def busy(self) -> bool:
        """Whether the machine was too busy to tell, which then is the verdict's first reason."""
        return self.verdict.ledger.queue_share > BUSY_SHARE and len(self.verdict.reasons) > 1

    @property
    def why(self) -> str:
        """The first clause of the verdict's most important reason; that the machine was busy is said elsewhere."""
        reasons = self.verdict.reasons[1:] if self.busy else self.verdict.reasons
        return re.split(r"[.;](?:\s|$)", reasons[0], maxsplit=1)[0] if reasons else ""

    def _measured_speedup(self, engine: EngineName) -> float | None:
        seconds = self._best_measured(engine)
        serial = self._best_measured("serial")
        return serial / seconds if serial and seconds else None

    def _best_measured(self, engine: EngineName) -> float | None:
        forecasts = (forecast for forecast in self.verdict.forecasts if forecast.engine == engine)
        return min((each.measured for each in forecasts if each.measured is not None), default=None)


@dataclass(slots=True)
class Report:
    """What became of the jobs.

    Attributes:
        rows: The jobs that have a verdict, in the order they ran.
        skipped: Name to what is missing, of the jobs that cannot run here.
        failed: Name to what went wrong, of the jobs that should have run.
        seconds: Wall seconds for all of it.
    """

    rows: list[Row] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def warning(self) -> str | None:
        """What to keep in mind when reading the figures."""
        busy = sum(row.busy for row in self.rows)
        return (
            f"the machine was busy during {busy} of {len(self.rows)} jobs: ask again when it is quiet"
            if busy
            else None
        )

    @property
    def complete(self) -> bool:
        """Whether every job that can run here has a verdict."""
        return not self.failed


def chosen(names: Sequence[str] | None) -> tuple[str, ...]:
    """Return the jobs called `names`; all when there are none.

    Raises:
        CommandLineError: A name is unknown.
    """
    unknown = [name for name in names or () if name not in NAMES]
    if unknown:
        msg = f"no job is called {', '.join(unknown)}; the jobs are {', '.join(NAMES)}"
        raise CommandLineError(msg)
    return tuple(name for name in NAMES if not names or name in names)


def run_jobs(
    names: Sequence[str], which: Callable[..., Verdict], line: ProgressLine, *, verify: bool
) -> Report:
    """Get a verdict for each job; one that fails is reported and does not stop the others."""
    report = Report()
    start = time.monotonic()
    for position, name in enumerate(names, 1):
        say = line.behind(f"[{position}/{len(names)}] {name}: ")
        say("preparing")
        _run_job(name, report, partial(which, verify=verify, budget=BUDGET_SECONDS, progress=say))
        line.keep(f"[{position}/{len(names)}] {_outcome(name, report)}")
    report.seconds = time.monotonic() - start
    return report


def _run_job(name: str, report: Report, which: Callable[..., Verdict]) -> None:
    try:
        job = load(name)
    except ModuleNotFoundError as error:
        report.skipped[name] = f"needs {error.name}"
        return
    try:
        with job.items() as items:
            verdict = which(job.fn, items)
    except (WhicheverError, ServerError, OSError) as error:
        report.failed[name] = in_one_line(error)
    else:
        report.rows.append(Row(name, job, verdict))


def _outcome(name: str, report: Report) -> str:
    if name in report.skipped:
        return f"{name}: skipped, {report.skipped[name]}"
    if name in report.failed:
        return f"{name}: failed, {report.failed[name]}"
    return f"{name}: {engine_and_workers(report.rows[-1].verdict)}"


def load(name: str) -> Job:
    """Import a job.

    Raises:
        ModuleNotFoundError: It needs a library that is not installed.
    """
    job: Job = importlib.import_module(f"whichever.cli.demo.{name}").JOB
    return job


def show(report: Report, html: str) -> None:
    """Write the page, and print the table with the page's name below it."""
    from whichever.cli.demo import table  # noqa: PLC0415 - loads rich, which must not be there while measuring

    page.write(report, Path(html))
    table.show(report, sys.stdout)
    print(f"report: {html}")  # noqa: T201 - the answer
