"""What a job of the demonstration is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from whichever._types import EngineName


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A task, its items and what is commonly said of it.

    Attributes:
        title: The work, in a few words.
        task: What one task does and on what data, in a sentence.
        fn: The task.
        items: Opens the items: starts the server or writes the files that they need, and takes both away.
        textbook: The engine that the rule of thumb names.
        because: The rule of thumb.
    """

    title: str
    task: str
    fn: Callable[[Any], Any]
    items: Callable[[], AbstractContextManager[Sequence[Any]]]
    textbook: EngineName
    because: str
