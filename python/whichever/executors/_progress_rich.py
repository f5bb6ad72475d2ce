"""Progress shown by rich: one display for all that is read at a time, with a line for each."""

from __future__ import annotations

import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rich.console import RenderableType
    from rich.progress import TaskID

    from whichever.executors._progress import Journey

_PER_SECOND = 4  # each drawing takes the GIL for some milliseconds
_SLOW = 10  # tasks a second, below which the rate has a decimal


class _RateColumn(ProgressColumn):
    def render(self, task: Any) -> Text:
        rate = task.finished_speed or task.speed
        return Text("" if rate is None else f"{rate:,.0f}/s" if rate >= _SLOW else f"{rate:.1f}/s")


class _Display(Progress):
    """Asks each journey how far it is whenever it draws."""

    def __init__(self) -> None:
        super().__init__(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            _RateColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=Console(stderr=True),
            refresh_per_second=_PER_SECOND,
            # Rich writes what is printed above the bar: to standard error, where a pipe would miss it.
            redirect_stdout=sys.stdout is not None and sys.stdout.isatty(),
        )

    def get_renderables(self) -> Iterable[RenderableType]:
        for task in self.tasks:
            self.show(task.id, task.fields["journey"])
        return super().get_renderables()

    def show(self, task: TaskID, journey: Journey) -> None:
        self.update(task, completed=journey.count(), description=journey.label())


class _Stage:
    """The display while it is up."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._display: _Display | None = None
        self._shown = 0

    def enter(self, journey: Journey) -> tuple[_Display, TaskID]:
        with self._lock:
            if self._display is None:
                self._display = _Display()
                self._display.start()
            self._shown += 1
            display = self._display
        return display, display.add_task(journey.label(), total=journey.total, journey=journey)

    def leave(self) -> None:
        with self._lock:
            self._shown -= 1
            if self._shown or self._display is None:
                return
            display, self._display = self._display, None
        display.stop()


_stage = _Stage()


@contextmanager
def bar(journey: Journey) -> Iterator[None]:
    """Show `journey`."""
    display, task = _stage.enter(journey)
    try:
        yield
        display.update(task, total=journey.count())  # all there were, as it turned out
    finally:
        display.show(task, journey)
        display.stop_task(task)
        _stage.leave()
