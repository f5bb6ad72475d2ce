"""Single tasks: where each goes, and what is learned of its function on the way.

An unknown function's tasks go to threads, where they can do no harm. Some of them are timed there; when they turn out
to compute, and more than one is there at a time, one is looked at as a map's first items are, and the model says
whether processes run them faster. Then those that already wait for a thread go there as well, from that thread.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, TypeVar

from whichever import executors
from whichever.auto._home import key_of
from whichever.executors._coroutines import is_coroutine_function
from whichever.executors._face import NO_RULES

if TYPE_CHECKING:
    from collections.abc import Callable

    from whichever._types import EngineName
    from whichever.auto._home import Home
    from whichever.executors._face import Rules
    from whichever.executors._future import Future

T = TypeVar("T")

_ROUTES_KEPT = 1024
_TIMED_FIRST = 8
_TIMED_EVERY = 32
_JUDGED_AFTER = 3
_LEAST_SECONDS = 0.002
"""Tasks shorter than this stay in threads: nobody who hands in one at a time gains by sending them away."""
_COMPUTES = 0.1
_LOOK_HZ = 5000.0
"""Rate of the meter: one task of some milliseconds must tell."""
_AHEAD = 256
"""Tasks that are still to come, at least, when the model is asked where they belong: nobody knows."""
_AHEAD_SHARE = 4
"""And so many times as many as there have been. When they have come, it is asked again."""
_RECONSIDER_SECONDS = 30.0


class Route:
    """Where tasks of one function go, and what is known of them."""

    def __init__(self, calls: int = 0) -> None:
        self.engine: EngineName = "threads"
        self.workers = 0
        self.lock = threading.Lock()
        self.calls = calls
        self.expected = 0
        self.timed = 0
        self.wall = 0.0
        self.cpu = 0.0
        self.is_decided = False
        self.decided_at = 0.0

    def decide(self, expected: int) -> None:
        """Take it as decided where so many tasks belong that are to come."""
        self.is_decided, self.decided_at, self.expected = True, time.monotonic(), self.calls + expected

    def is_stale(self) -> bool:
        """Say whether a decision is to be made again: after a while, or when more tasks came than were expected."""
        if not self.is_decided:
            return False
        self.calls += 1
        return self.calls > self.expected or time.monotonic() - self.decided_at > _RECONSIDER_SECONDS

    def is_to_be_timed(self) -> bool:
        """Count a call; say whether to time it."""
        self.calls += 1
        return not self.is_decided and (self.timed < _TIMED_FIRST or self.calls % _TIMED_EVERY == 0)

    def seems_to_compute(self) -> bool:
        """Say whether a closer look may be worth it."""
        if self.is_decided or self.timed < _JUDGED_AFTER:
            return False
        # Beside others that compute it waits for the GIL most of the time: that counts as neither.
        return self.cpu >= max(_LEAST_SECONDS * self.timed, _COMPUTES * self.wall)


class Tasks:
    """See the module.

    Args:
        home: What the pool's maps and tasks share.
    """

    def __init__(self, home: Home) -> None:
        self._home = home
        self._routes: dict[Any, Route] = {}
        self._serial: Any = None

    def submit(self, rules: Rules, fn: Callable[..., T], args: Any, kwargs: Any) -> Future[T]:
        """Hand in a task."""
        home = self._home
        forced = home.forced_engine()
        if is_coroutine_function(fn):
            asynchronous: Any = home.stable.pool("async", home.most_at_once)
            future: Future[T] = asynchronous._submit(rules, fn, args, kwargs)  # noqa: SLF001
            return future
        if forced is not None:
            return self._forced(forced)._submit(rules, fn, args, kwargs)  # type: ignore[no-any-return] # noqa: SLF001
        route = self._route(fn)
        if route.engine != "threads":
            return self._send(route, rules, fn, args, kwargs)
        threads = home.stable.threads()
        home.watch_tasks()
        if route.is_decided:
            return threads._submit(rules, fn, args, kwargs)  # noqa: SLF001
        return threads._submit(rules, _undecided, (self, route, fn, *args), kwargs)  # noqa: SLF001

    def run(self, route: Route, fn: Callable[..., T], args: Any, kwargs: Any) -> T:
        """In a thread: run a task of a function of which it was not known yet where it belongs."""
        if route.engine != "threads":  # by now it is
            result: T = self._send(route, NO_RULES, fn, args, kwargs).result()
            return result
        if (
            route.seems_to_compute()
            and self._home.allows("processes")
            and _is_shared(self._home.stable.threads())
        ):
            return self._look(route, fn, args, kwargs)
        if route.is_to_be_timed():
            return _timed(route, fn, args, kwargs)
        return fn(*args, **kwargs)

    def _forced(self, engine: EngineName) -> Any:
        home = self._home
        if engine == "serial":
            self._serial = self._serial or executors.SerialPool()
            return self._serial
        return home.stable.pool(engine, home.fixed_workers(engine))

    def _route(self, fn: Callable[..., Any]) -> Route:
        key = key_of(fn)
        route = self._routes.get(key)
        if route is None:
            route = self._routes.setdefault(key, Route())
            while len(self._routes) > _ROUTES_KEPT:
                self._routes.pop(next(iter(self._routes)), None)
        elif route.is_stale():
            self._routes[key] = route = Route(route.calls)
        return route

    def _send(self, route: Route, rules: Rules, fn: Callable[..., T], args: Any, kwargs: Any) -> Future[T]:
        """Hand a task to workers that get copies; if that cannot be, to threads."""
        pool: Any = self._home.stable.pool(route.engine, route.workers)
        future: Future[T]
        try:
            if route.engine == "processes":
                future = pool.submit_or_raise(rules, fn, args, kwargs)
            else:
                future = pool._submit(rules, fn, args, kwargs)  # noqa: SLF001
        except Exception as error:
            if self._home.stable.is_closed():
                raise
            self._home.warn_late(fn, error)
        else:
            return future
        route.engine = "threads"
        route.decide(_AHEAD)
        return self._home.stable.threads()._submit(rules, fn, args, kwargs)  # noqa: SLF001

    def _look(self, route: Route, fn: Callable[..., T], args: Any, kwargs: Any) -> T:
        """Run a task here under the meter; decide when enough is known."""
        from whichever.auto._look import Look  # noqa: PLC0415 - few programs need it

        if not route.lock.acquire(blocking=False):
            return fn(*args, **kwargs)
        try:
            if route.is_decided:
                return fn(*args, **kwargs)
            look = Look(self._home, fn, star=True, kwargs=kwargs)
            look.become_serious(args, rate_hz=_LOOK_HZ)
            try:
                result: T = look.call(args)
                expected = max(_AHEAD, _AHEAD_SHARE * route.calls)
                choice = look.decide(expected)
            finally:
                look.close()
            route.decide(expected)
            if choice.engine in ("processes", "interpreters"):
                route.workers, route.engine = choice.workers, choice.engine
            self._home.note(fn, route.engine, route.workers or choice.workers, route.calls, choice.reason)
            return result
        finally:
            route.lock.release()

    def close(self, *, wait: bool, cancel_futures: bool) -> None:
        """End what belongs to single tasks only."""
        if self._serial is not None:
            self._serial.shutdown(wait, cancel_futures=cancel_futures)


def _is_shared(threads: Any) -> bool:
    """Say whether there is more than one task at a time: of one alone, nobody is faster."""
    counts = threads.statistics()
    return bool(counts.waiting + counts.running > 1)


def _timed(route: Route, fn: Callable[..., T], args: Any, kwargs: Any) -> T:
    wall, cpu = time.perf_counter(), time.thread_time()
    try:
        return fn(*args, **kwargs)
    finally:
        route.wall += time.perf_counter() - wall
        route.cpu += time.thread_time() - cpu
        route.timed += 1


def _undecided(tasks: Tasks, route: Route, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
    return tasks.run(route, fn, args, kwargs)
