"""Which engines would change what a program means, not merely slow it down, and why.

Two looks: `exclusions_before` reads the function and one item before anything runs; a `Watch` compares the
item and the state that the function reaches before and after each sampled call. Neither raises on account of
the user's objects. Both err on the side of meaning: what may be missed by the caller excludes the engines that
work on copies (processes, interpreters). What could not be compared is said, not guessed.
"""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING, Any

from whichever._types import COPYING
from whichever.advisor import _fingerprint
from whichever.advisor._inside import resources
from whichever.advisor._pickling import why_not_picklable
from whichever.advisor._reach import MISSING, Reach, Target
from whichever.advisor._walk import inspect_function

if TYPE_CHECKING:
    from collections.abc import Callable

    from whichever._types import EngineName

__all__ = ["Reach", "Watch", "exclusions_before", "inspect_function"]

_NAMED = 3  # causes named in one reason; a reader wants the first few


def exclusions_before(
    fn: Callable[..., Any], first_item: Any, reach: Reach | None = None
) -> dict[EngineName, str]:
    """Find, before anything runs, the engines that cannot run `fn` on such items as the program means it.

    Args:
        fn: The task.
        first_item: An item it will be called with.
        reach: What `inspect_function` found of both, when that has been asked already.
    """
    if reach is None:
        reach = inspect_function(fn, first_item)
    if reach.kind == "coroutine":
        reason = "is a coroutine function: a coroutine belongs to one event loop"
        return dict.fromkeys(("threads", *COPYING), reason)
    excluded: dict[EngineName, str] = {"async": "is not a coroutine function"}
    against = _against_copies(fn, reach) or _against_copying(first_item)
    if against is not None:
        excluded |= dict.fromkeys(COPYING, against)
    if reach.advanced and not reach.locks:
        excluded["threads"] = f"{_joined(reach.advanced)}, which two threads cannot advance at once"
    return excluded


def _against_copies(fn: Any, reach: Reach) -> str | None:
    if reach.kind in ("generator", "async generator"):
        return f"is a generator function: what it returns, {_article(reach.kind)}, does not pickle"
    if reach.writes or reach.resources:
        return _joined((*reach.writes, *reach.resources))
    return why_not_picklable(fn, by_value=True)


def _against_copying(item: Any) -> str | None:
    held = _held(item)
    if held is not None:
        return held
    why = why_not_picklable(item)
    return None if why is None else f"its argument {why}"


def _held(item: Any) -> str | None:
    """Say what `item` is or holds that belongs to this process alone."""
    for kind, path in resources(item, "argument"):
        return (
            f"its argument is {_article(kind)}"
            if path == "argument"
            else f"its argument holds the {kind} `{path}`"
        )
    return None


class Watch:
    """Compares the state that calls might write, before and after each.

    Call `before` and `after` around sampled calls, in one thread. After `budget` seconds of its own it stops
    looking and says so; `checked` counts the calls it compared.

    Args:
        fn: The task.
        reach: What `inspect_function` found of it, when that has been asked already.
        budget: Seconds that all comparisons together may take.
    """

    def __init__(self, fn: Callable[..., Any], reach: Reach | None = None, *, budget: float = 0.2) -> None:
        self._reach = reach = inspect_function(fn) if reach is None else reach
        self._left = budget
        self._targets = (*reach.state, *_AMBIENT)
        self._pending: list[tuple[Target, _fingerprint.Fingerprint]] = []
        self._item = MISSING
        self._changed: dict[str, None] = {}
        self._partly: dict[str, None] = {}
        self.checked = 0
        self.passed_over = 0

    def before(self, item: Any) -> None:
        """Take the fingerprints of `item` and of what the function reaches, before a call."""
        self._pending = []
        self._item = item
        if self._left <= 0:
            self.passed_over += 1
            return
        started = time.perf_counter()
        argument = Target(label=_ARGUMENT, read=lambda: item)
        for target in (argument, *self._targets):
            if target.label not in self._changed:
                seconds = max(0.001, min(0.05, self._left - (time.perf_counter() - started)))
                self._pending.append((target, _fingerprint.take(_value(target), seconds=seconds)))
        self._left -= time.perf_counter() - started

    def after(self, item: Any) -> None:
        """Compare with what `before` saw; `item` is the same one, after the call."""
        pending, self._pending = self._pending, []
        if item is not self._item or not pending:
            return
        started = time.perf_counter()
        for target, earlier in pending:
            now = _fingerprint.take(_value(target), like=earlier)
            if earlier == _NONE and target.label in self._reach.set_once:
                continue
            if _fingerprint.differs(earlier, now):
                self._changed[target.label] = None
            elif not (earlier.complete and now.complete):
                self._partly[target.label] = None
        self.checked += 1
        self._item = MISSING
        self._left -= time.perf_counter() - started

    def exclusions(self) -> dict[EngineName, str]:
        """Give the engines excluded by what the calls changed; what the code is seen to write counts too."""
        causes = [*self._reach.writes, *(_written(label) for label in self._changed if not self._told(label))]
        if not causes or self._reach.kind == "coroutine":
            return {}
        return dict.fromkeys(COPYING, _joined(tuple(causes)))

    def _copies(self) -> bool:
        """Whether engines that copy are still possible, as far as this room knows."""
        return self._reach.kind == "plain" and not self._reach.resources and not self.exclusions()

    def _told(self, label: str) -> bool:
        """Whether the code was already seen to write what changed, under the same name."""
        name = re.search(r"`([^`]+)`", label)
        return name is not None and any(f"`{name[1]}`" in cause for cause in self._reach.writes)

    def notes(self) -> tuple[str, ...]:
        """Say what a user should know though it excludes no engine, and what could not be compared."""
        found = [
            note
            for note in self._reach.notes()
            if self._copies() or not note.startswith("each worker process")
        ]
        shared = [
            cause.removeprefix("writes ") for cause in self._reach.writes if cause.startswith("writes ")
        ]
        shared += [label for label in self._changed if label != _ARGUMENT and not self._told(label)]
        if shared and not self._reach.locks and self._reach.kind != "coroutine":
            found.append(f"threads will race on {_joined(tuple(shared))}: guard it with a lock")
        found += [
            f"{label} is too large to compare as a whole: a part of it was"
            for label in self._partly
            if label not in self._changed
        ]
        if self.passed_over:
            found.append(f"state was compared around the first {self.checked} calls only")
        if not self._reach.complete:
            found.append("the function reaches more code or state than was looked at")
        return tuple(found)


def _value(target: Target) -> Any:
    try:
        return target.read()
    except Exception:  # noqa: BLE001 -- an object of the user's; no value is what can be said of it
        return MISSING


def _written(label: str) -> str:
    return f"changes {label}" if label in (_ARGUMENT, _DIRECTORY) else f"writes {label}"


def _joined(causes: tuple[str, ...]) -> str:
    text = " and ".join(causes[:_NAMED])
    return text if len(causes) <= _NAMED else f"{text} and {len(causes) - _NAMED} more"


def _article(noun: str) -> str:
    return f"an {noun}" if noun[0] in "aeio" else f"a {noun}"


def _working_directory() -> Any:
    try:
        return os.getcwd()  # noqa: PTH109 -- a plain string is what is compared
    except OSError:
        return MISSING


_NONE = _fingerprint.take(None)
_ARGUMENT = "its argument"
_DIRECTORY = "the working directory"
_AMBIENT: tuple[Target, ...] = (
    Target(label="`os.environ`", read=lambda: dict(os.environ)),
    Target(label=_DIRECTORY, read=_working_directory),
)
