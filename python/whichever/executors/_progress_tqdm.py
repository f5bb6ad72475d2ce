"""Progress shown by tqdm."""

from __future__ import annotations

import importlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from whichever.executors._progress_line import drawn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from whichever.executors._progress import Journey

_SECONDS = 0.2

try:
    _tqdm: Any = importlib.import_module("tqdm.auto")  # knows notebooks
except ModuleNotFoundError:
    _tqdm = importlib.import_module("tqdm")


@contextmanager
def bar(journey: Journey) -> Iterator[None]:
    """Show `journey`."""
    shown = _tqdm.tqdm(total=journey.total, desc=journey.label(), unit=" tasks")

    def draw() -> None:
        shown.set_description_str(journey.label(), refresh=False)
        shown.update(journey.count() - shown.n)

    try:
        with drawn(draw, _SECONDS):
            yield
    finally:
        draw()
        shown.close()
