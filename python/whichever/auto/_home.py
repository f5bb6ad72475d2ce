"""What the maps and tasks of one auto pool share: its pools, what it knows of functions, its scout, its history."""

from __future__ import annotations

import contextlib
import os
import threading
import warnings
import weakref
from typing import TYPE_CHECKING, Any

from whichever import _core
from whichever._types import ENGINE_NAMES
from whichever.auto._decision import Decision, History, name_of
from whichever.auto._memory import Memory
from whichever.auto._stable import Stable
from whichever.executors._cores_left import cores_left

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from whichever._types import EngineName
    from whichever.auto._course import Course
    from whichever.auto._knowledge import Knowledge
    from whichever.executors import ThreadPool

_FUNCTIONS_KEPT = 256
_MOST_AT_ONCE = 512
"""Coroutines that wait at once, unless the user says how many."""
_WAITING_SHARE = 0.05
_VARIABLE = "WHICHEVER_ENGINE"


class Home:
    """See the module.

    Args:
        engines: Engines that may be chosen; empty for all.
        workers: Most workers; None to find out.
        verbose: Whether to print decisions.
        remember: Whether to keep what is learned for other runs of the program.
    """

    def __init__(
        self, engines: Sequence[EngineName], workers: int | None, *, verbose: bool, remember: bool
    ) -> None:
        self.engines = tuple(engines)
        self.workers = workers
        self._cores = cores_left()  # of the thread that makes the pool: one of its own is told less
        self.stable = Stable(workers, self._cores)
        self.memory = Memory(remember)
        self.history = History(verbose=verbose)
        self.latest: Decision | None = None
        self.latest_knowledge: Knowledge | None = None
        self._forced = _asked_for() or (self.engines[0] if len(self.engines) == 1 else None)
        self._known: dict[Any, Knowledge] = {}
        self._watched: list[Course[Any]] = []
        self._watches_tasks = False
        self._scout_thread = 0
        self._has_warned = False
        self._governed: Any = None
        self._lock = threading.Lock()
        own = weakref.ref(self)
        self._scout = _core.Scout(lambda: _on_wait(own))

    @property
    def most_at_once(self) -> int:
        """Most coroutines at once."""
        return _MOST_AT_ONCE if self.workers is None else self.workers

    def allows(self, engine: EngineName) -> bool:
        """Say whether an engine may be chosen."""
        return not self.engines or engine in self.engines

    def forced_engine(self) -> EngineName | None:
        """Return the engine that the environment asks for, or the only one that may be chosen."""
        return self._forced

    def fixed_workers(self, engine: EngineName) -> int:
        """Return how many workers an engine gets that was asked for."""
        if engine == "serial":
            return 1
        if self.workers is not None:
            return self.workers
        return {"threads": min(32, self._cores + 4), "async": _MOST_AT_ONCE}.get(engine, self._cores)

    def knowledge(self, fn: Callable[..., Any]) -> Knowledge:
        """Return what is known of a function, which may be nothing yet."""
        from whichever.auto._knowledge import Knowledge  # noqa: PLC0415 - 20 ms that short maps do not pay

        key = key_of(fn)
        with self._lock:
            found = self._known.get(key)
            if found is None:
                found = self._known[key] = Knowledge(fn, self.engines, self.workers, self._cores)
                while len(self._known) > _FUNCTIONS_KEPT:
                    del self._known[next(iter(self._known))]
            found.fn = fn
            self.latest_knowledge = found
            return found

    def recall(self, fn: Callable[..., Any]) -> Knowledge | None:
        """Return what is known of a function if that is enough to choose, from this run or from another one."""
        if self.is_metered(fn):
            know = self.knowledge(fn)
            return know if know.is_checked else None
        recollection = self.memory.recall(fn)
        if recollection is None or not recollection.ledger:
            return None
        know = self.knowledge(fn)
        know.learn_from(recollection)
        return know

    def is_metered(self, fn: Callable[..., Any]) -> bool:
        """Say whether tasks of a function were metered."""
        found = self._known.get(key_of(fn))
        return found is not None and found.is_metered

    def metered(self, fn: Callable[..., Any]) -> tuple[float, float] | None:
        """Return the seconds and CPU seconds that a task took under the meter; None where none was metered."""
        if not self.is_metered(fn):
            return None
        know = self.knowledge(fn)
        return know.wall(), know.cpu()

    def waits(self, fn: Callable[..., Any]) -> bool:
        """Say whether a function's tasks wait, as far as is known."""
        if not self.is_metered(fn):
            return True
        ledger = self.knowledge(fn).case.question()["ledger"]
        blocked = sum(ledger["parts"]["blocked"].values())
        return bool(blocked > _WAITING_SHARE * ledger["wall"])

    def note(self, fn: Callable[..., Any], engine: EngineName, workers: int, done: int, reason: str) -> None:
        """Keep a decision."""
        self.latest = self.history.note(fn, engine, workers, done, reason)

    def grow(self, pool: Any) -> bool:
        """Let there be more threads, if tasks wait for one and more help. False when none does, or no more may be."""
        return bool(pool.program_waits())

    def threads_for(self, fn: Callable[..., Any]) -> ThreadPool:
        """Return the thread pool that grows; what it found out does not hold for another function than before."""
        threads, key = self.stable.threads(), key_of(fn)
        if key != self._governed:
            self._governed = key
            threads.govern_anew()
        return threads

    def watch(self, course: Course[Any], *, here: bool = False) -> None:
        """Tell a course from now on when the program waits; or the calling thread, if tasks run `here`."""
        with self._lock:
            if course not in self._watched:
                self._watched.append(course)
            self._scout.arm(here=here)

    def unwatch(self, course: Course[Any]) -> None:
        """Tell it no more."""
        with self._lock:
            if course in self._watched:
                self._watched.remove(course)
            if not self._watched and not self._watches_tasks:
                self._scout.disarm()

    def watch_tasks(self) -> None:
        """Let there be more threads when the program waits and single tasks wait for one."""
        if not self._watches_tasks:
            with self._lock:
                self._watches_tasks = True
                self._scout.arm()

    def warn_late(self, fn: Callable[..., Any], error: BaseException | None) -> None:
        """Say once that tasks stay here that were to go to processes."""
        if not self._has_warned:
            self._has_warned = True
            msg = f"arguments of {name_of(fn)} do not pickle ({error}): such tasks run in threads"
            warnings.warn(msg, RuntimeWarning, stacklevel=4)

    @contextlib.contextmanager
    def watching(self, course: Course[Any]) -> Generator[None, None, None]:
        """Watch for the time of a block, or longer if it was being watched before or threads have begun to help."""
        self.watch(course, here=True)
        try:
            yield
        finally:
            if not course.has_threads():
                self.unwatch(course)

    def is_scout(self) -> bool:
        """Say whether the calling thread is the scout's."""
        return threading.get_ident() == self._scout_thread

    def on_wait(self) -> bool:
        """In the scout's thread: the program waits. False when there is nothing to be done about that."""
        if _core.refuses_tasks():
            return False  # it ends
        self._scout_thread = threading.get_ident()
        if not self._lock.acquire(blocking=False):
            return True
        try:
            watched, tasks = tuple(self._watched), self._watches_tasks
        finally:
            self._lock.release()
        has_helped = False
        for course in watched:
            has_helped |= course.on_wait()
        growing = self.stable.growing()
        has_grown = tasks and growing is not None and self.grow(growing)
        if tasks and not has_grown:
            with self._lock:
                self._watches_tasks = False
                if not self._watched:
                    self._scout.disarm()
        return has_helped or has_grown

    def close(self, wait: float = 0.0) -> None:
        """End the scout, and wait for it for so many seconds; keep what was learned."""
        self._scout.close(wait)
        self.memory.write()


def _asked_for() -> EngineName | None:
    """Return the engine that the environment asks for, for debugging.

    Raises:
        ValueError: There is no such engine.
    """
    asked = os.environ.get(_VARIABLE, "")
    for name in ENGINE_NAMES:
        if name == asked:
            return name
    if asked and asked != "auto":
        msg = f"{_VARIABLE} names an unknown engine, {asked!r}: there are auto, {', '.join(ENGINE_NAMES)}"
        raise ValueError(msg)
    return None


def _on_wait(own: weakref.ref[Home]) -> bool:
    home = own()
    return home is not None and home.on_wait()


def key_of(fn: Callable[..., Any]) -> Any:
    """Return what a function is known by: its code, so that a lambda made anew each time is the same one."""
    code = getattr(getattr(fn, "__func__", fn), "__code__", None)
    if code is not None:
        return code
    return getattr(fn, "__qualname__", type(fn).__qualname__), type(fn)
