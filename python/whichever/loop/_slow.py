"""Callbacks that kept the loop from going on: their names, what they cost, and the warning in words.

The watchdog in the core finds them and says what their thread did; it calls `sight` while they still run. Dataclasses
are imported only when there is something to be said, for making them takes long.
"""

from __future__ import annotations

import sys
import traceback
from asyncio import base_events
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import FrameType

    from whichever._types import BlockedKind, SlowCallback

_MOST = 100
"""So many different ones are kept, and warned of."""
_OF_THE_LOOP = ("asyncio", "whichever")
_WAITS_FOR = {
    "network": "on a socket",
    "file": "on a file",
    "pipe": "on a pipe",
    "lock": "for a lock",
    "poll": "for descriptors",
    "child": "for a child process",
    "terminal": "on the terminal",
    "unknown": "for the kernel",
}


class SlowCallbacks:
    """Adds up what slow callbacks cost, by name, place and reason. Written by the loop's thread."""

    def __init__(self) -> None:
        self._known: dict[tuple[Any, ...], SlowCallback] = {}
        self._warned: set[tuple[Any, ...]] = set()

    def note(
        self,
        callback: Any,
        sight: tuple[str, str] | None,
        seconds: float,
        doing: tuple[Any, BlockedKind | None, str | None],
    ) -> SlowCallback | None:
        """Add one. Give it back if it is worth a warning: once for each place and reason.

        Args:
            callback: What the handle called; None where there was none.
            sight: What `sight` gave, if the stack could be read.
            seconds: How long it took.
            doing: The state of its thread, the kind of wait, and the system call.
        """
        from dataclasses import replace  # noqa: PLC0415 - see the module

        from whichever._types import SlowCallback  # noqa: PLC0415 - see the module

        name, place = sight or (_name(callback), "")
        state, kind, call = doing
        # Whoever computes is seen at another line each time.
        function = place.rpartition(":")[0]
        key = (name, function, *doing)
        new: Any
        new = total = SlowCallback(
            callback=name, place=place, state=state, kind=kind, call=call, times=1, seconds=seconds,
            longest_seconds=seconds,
        )  # fmt: skip
        known = self._known.get(key)
        if known is not None:
            total = replace(
                known,
                times=known.times + 1,
                seconds=known.seconds + seconds,
                longest_seconds=max(known.longest_seconds, seconds),
            )
        elif len(self._known) >= _MOST:
            del self._known[min(self._known, key=lambda key: self._known[key].seconds)]
        self._known[key] = total
        where = (function or name, state, kind)
        if where in self._warned or len(self._warned) >= _MOST:
            return None
        self._warned.add(where)
        return new  # type: ignore[no-any-return]

    def costliest(self) -> tuple[SlowCallback, ...]:
        """Give all that are kept, the costliest first."""
        known = list(self._known.values())
        return tuple(sorted(known, key=lambda slow: slow.seconds, reverse=True))


def in_words(slow: SlowCallback) -> str:
    """Say what happened, where, and what to do."""
    took = f"{slow.seconds * 1e3:.0f} ms" if slow.seconds < 10 else f"{slow.seconds:.1f} s"  # noqa: PLR2004
    did, remedy = _reason(slow, took)
    function, _, where = slow.place.partition(" ")
    if not function:
        return f"The event loop was kept waiting: `{slow.callback}` {did}: {remedy}"
    caller = "" if function == slow.callback else f", called by `{slow.callback}`,"
    return f"The event loop was kept waiting: `{function}` {where}{caller} {did}: {remedy}"


_DID = {
    "held": ("held the GIL for {}", "run it in a process pool"),
    "waiting": ("waited {} for the GIL", "run what other threads compute in a process pool"),
    "queued": ("queued for a core most of {}", "too much else runs on this machine"),
    "released": ("computed without the GIL for {}", "run it in a thread pool"),
    "unknown": ("took {}", "await it or run it in a pool"),
}
"""What a thread did, and what would be better."""
_DOES = {
    "held": "holds the GIL",
    "waiting": "waits for the GIL",
    "queued": "queues for a core, of which others have all",
    "released": "computes without the GIL",
    "unknown": "is not over",
}


def _reason(slow: SlowCallback, took: str) -> tuple[str, str]:
    """Say what it did, and what would be better."""
    if slow.state != "blocked":
        did, remedy = _DID[slow.state]
        return did.format(took), remedy
    if slow.kind == "sleep":
        return f"slept for {took}", "await asyncio.sleep instead"
    call = f"in {slow.call} " if slow.call else ""
    return f"waited {took} {call}{_WAITS_FOR[slow.kind or 'unknown']}", "await it or run it in a pool"


_told_stuck: set[str] = set()
"""The places that were warned of while they ran."""


def warn_of_stuck(
    thread: int | None, seconds: float, doing: tuple[Any, BlockedKind | None, str | None]
) -> None:
    """Warn of a callback that still runs, with its stack, once for each place. Called by the watchdog's thread.

    Args:
        thread: The loop's; None if its stack cannot be read.
        seconds: How long it has run so far.
        doing: The state of the thread, the kind of wait, and the system call.
    """
    frames = [] if thread is None else _above_the_loop(thread)
    seen = _look(frames)
    where = seen[1].rpartition(":")[0] if seen else ""
    if where in _told_stuck or len(_told_stuck) >= _MOST:
        return
    _told_stuck.add(where)
    stack = "".join(_lines(frames))
    base_events.logger.warning(  # type: ignore[attr-defined]
        "The event loop is being kept waiting, for %.1f s so far: %s %s%s",
        seconds,
        f"`{seen[0]}` is at {seen[1]} and" if seen else "a callback",
        _goes_on(doing),
        f"\n{stack}".rstrip(),
    )


def _goes_on(doing: tuple[Any, BlockedKind | None, str | None]) -> str:
    """Say what a thread has been doing."""
    state, kind, call = doing
    if state != "blocked":
        return _DOES[state]
    if kind == "sleep":
        return "sleeps"
    return f"waits {f'in {call} ' if call else ''}{_WAITS_FOR[kind or 'unknown']}"


def _lines(frames: list[FrameType]) -> list[str]:
    """Format frames as a traceback does, the innermost last."""
    stack = traceback.StackSummary.extract((frame, frame.f_lineno) for frame in reversed(frames))
    return stack.format()


def sight(thread: int) -> tuple[str, str] | None:
    """Read the stack of a thread that runs a loop: the name of the callback, and the place that it is at.

    None if no callback runs.
    """
    return _look(_above_the_loop(thread))


def _above_the_loop(thread: int) -> list[FrameType]:
    """List the frames of a thread down to those that run its loop, the innermost first."""
    frames = []
    frame = sys._current_frames().get(thread)
    while frame is not None and not _runs_loop(frame):
        frames.append(frame)
        frame = frame.f_back
    return frames


def _look(frames: list[FrameType]) -> tuple[str, str] | None:
    """Name the callback, and the place that it is at."""
    called = [frame for frame in frames if _package(frame) not in _OF_THE_LOOP] or frames
    if not called:
        return None
    own = next((frame for frame in called if not _is_of_library(frame)), called[0])
    code = own.f_code
    place = f"{code.co_qualname} ({code.co_filename.rpartition('/')[2]}:{own.f_lineno})"
    return called[-1].f_code.co_qualname, place


def _runs_loop(frame: FrameType) -> bool:
    return frame.f_code.co_name == "run_forever" and _package(frame) in _OF_THE_LOOP


def _package(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]


def _is_of_library(frame: FrameType) -> bool:
    """Whether a frame is the standard library's or an installed package's, rather than the program's."""
    return _package(frame) in sys.stdlib_module_names or "site-packages" in frame.f_code.co_filename


def _name(callback: Any) -> str:
    """Name what a handle called; of a task's step, the coroutine."""
    if callback is None:
        return "the loop"
    task = getattr(callback, "__self__", None)
    coroutine = getattr(task, "get_coro", lambda: None)()
    for thing in (coroutine, callback, getattr(callback, "func", None)):
        name = getattr(thing, "__qualname__", None)
        if isinstance(name, str):
            return name
    return type(callback).__qualname__
