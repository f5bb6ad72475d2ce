"""An advisor that answers at once, so that the command line is tested by itself."""

from __future__ import annotations

import asyncio
import inspect
import json
import sys
from itertools import islice
from pathlib import Path

import pytest

import whichever
from whichever._types import Forecast, Ledger, VerdictData


class Verdict(VerdictData):
    """The plain data with just enough of a face to see it printed and saved."""

    def __str__(self):
        return f"which: {self.engine} for {self.tasks} tasks of {self.name}"

    def _repr_html_(self):
        return f"<p class='verdict'>{self.engine} for {self.name}</p>"

    def save(self, path):
        text = json.dumps({"engine": self.engine}) if path.endswith(".json") else self._repr_html_()
        Path(path).write_text(text, encoding="utf-8")


def ledger(wall, queue_share):
    return Ledger(
        wall=wall, held=wall, released=0.0, waiting=0.0, queued=0.0, blocked={}, standard_error={},
        gil=True, tasks=2, samples=10, rate_hz=1000.0, queue_share=queue_share,
    )  # fmt: skip


def forecasts(verify):
    def of(engine, workers, seconds, measured):
        return Forecast(
            engine=engine, workers=workers, seconds=seconds, low=seconds, high=seconds,
            speedup=8.0 / (measured if verify else seconds), limit="gil", measured=measured if verify else None,
        )  # fmt: skip

    return (of("threads", 4, 2.0, 1.6), of("serial", 1, 8.0, 8.0), of("processes", 2, 4.0, 80.0))


class FakeAdvisor:
    """Stands for `whichever.which`: runs two items, remembers how it was asked, answers "threads"."""

    def __init__(self):
        self.calls = []
        self.results = []
        self.before = None
        self.queue_share = 0.0
        self.reasons = ("It waits most of the time; threads wait together. More follows.",)

    def __call__(self, fn, items, **options):
        self.calls.append((fn, items, options))
        if self.before is not None:
            self.before()
        if options.get("progress"):
            options["progress"]("sampling")
        for item in islice(iter(items), 2):
            result = fn(item)
            self.results.append(asyncio.run(result) if inspect.iscoroutine(result) else result)
        return Verdict(
            name=fn.__name__, engine="threads", workers=4, speedup=4.0, ledger=ledger(0.1, self.queue_share),
            forecasts=forecasts(options.get("verify", False)), samples=(),
            reasons=self.reasons, tasks=80,
        )  # fmt: skip

    @property
    def options(self):
        return self.calls[-1][2]

    @property
    def items(self):
        return self.calls[-1][1]


@pytest.fixture
def advisor(monkeypatch):
    fake = FakeAdvisor()
    monkeypatch.setattr(whichever, "which", fake)
    return fake


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A current folder with a module of the test's own; what is imported from it is forgotten again."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    (tmp_path / "tasks_here.py").write_text(
        "LIMIT = 3\n"
        "numbers = [1, 2, 3]\n"
        "def double(item):\n    return item * 2\n"
        "def chatty(item):\n    print('noise from a task')\n"
        "def endless():\n    n = 0\n    while True:\n        yield n\n        n += 1\n"
        "def broken():\n    raise ValueError('no numbers today')\n"
        "class Sequence:\n    def __getitem__(self, at):\n        return [7, 8][at]\n"
        "old = Sequence()\n"
        "class Tools:\n    @staticmethod\n    def triple(item):\n        return item * 3\n",
        encoding="utf-8",
    )
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
