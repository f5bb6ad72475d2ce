"""How far an iterator over results is: with rich, or with tqdm where the program uses that; else not at all."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")


def shown(results: Iterator[T], total: int | None) -> Iterator[T]:
    """Pass `results` on and show their number, rate and the time left.

    Nothing is shown where nobody looks: when standard error is neither a terminal nor a notebook.

    Args:
        results: Where they come from.
        total: How many there will be; None when nobody knows.
    """
    tqdm: Any = sys.modules.get("tqdm")
    if tqdm is not None and hasattr(tqdm, "auto"):
        yield from tqdm.auto.tqdm(results, total=total, disable=None)
        return
    if tqdm is not None:
        yield from tqdm.tqdm(results, total=total, disable=None)
        return
    yield from _with_rich(results, total)


def _with_rich(results: Iterator[T], total: int | None) -> Iterator[T]:
    from rich.console import Console  # noqa: PLC0415 - 50 ms that only this needs
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text  # noqa: PLC0415

    class RateColumn(ProgressColumn):
        def render(self, task: Any) -> Text:
            speed = task.finished_speed or task.speed
            return Text("" if speed is None else f"{speed:,.0f}/s")

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        RateColumn(),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=console, disable=not (console.is_terminal or console.is_jupyter)
    ) as progress:
        yield from progress.track(results, total=total, description="tasks")
