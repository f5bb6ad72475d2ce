"""The course of one map: a look at the first items here, then leg after leg, each on the engine that is best by then.

Results are those of the legs, one leg after the other, so their order is the items'. An engine takes its items from a
feed that it asks for more when it has little left; there the course looks how the leg is doing, and may end it: then
the next leg begins with the next item while the last results of the one before are still on their way.
"""

from __future__ import annotations

import contextlib
import contextvars
import itertools
import sys
import threading
import time
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from whichever import _core
from whichever.auto._leg import BUSY_CORES, Leg
from whichever.auto._look import TINY_SECONDS, Choice, Look, choose
from whichever.auto._plain import calls, collected, columns, drained, given_out, run_here, stopped
from whichever.auto._source import Source
from whichever.executors._coroutines import is_coroutine_function

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from whichever._types import EngineName
    from whichever.auto._home import Home
    from whichever.executors._face import MapPlan

T = TypeVar("T")

_FIRST_THREADS_TASKS = 512
"""Handed to threads at once: so many may be waiting before the reader comes back."""
_GENERATED_FIRST = 64
_GENERATED_AHEAD = 1024
"""Results of tasks that ran here may wait for their reader, where items come from a generator; at first, and later."""
_SEGMENT_SECONDS = 0.01
_MOST_IN_SEGMENT = 100_000
_OVERRUN = 4.0
_BRIDGE_SECONDS = 0.3
_BRIDGE_TASK_SECONDS = 0.05
_LOOK_EVERY = 8
_LOOK_SECONDS = 0.05
"""So often, in results and in time, it is looked how threads are doing."""
_PATIENCE_SECONDS = 0.2
_MOST_PATIENCE_SECONDS = 2.0
"""Between two looks; more after each that has changed nothing."""
_SURPRISE = 3.0
"""Times as long, or as short, as tasks took when they were metered: then they are others."""
_WORTH_REMEMBERING_SECONDS = 0.05
_TRIAL_SHARE = 20.0
"""A trial is worth its time when the rest takes so many times as long."""
_START_SECONDS = 0.1
"""What it takes to start an engine for that."""


class Course(Generic[T]):
    """See the module.

    Args:
        home: What the maps of a pool share.
        plan: What was asked for.
    """

    def __init__(self, home: Home, plan: MapPlan[T]) -> None:
        self._home, self._plan = home, plan
        self._context = contextvars.copy_context()
        self._deadline = None if plan.timeout is None else time.monotonic() + plan.timeout
        self._source = Source(plan.iterables, eager=plan.eager, ahead=plan.buffersize, is_scout=home.is_scout)
        self._legs: deque[Leg] = deque()
        self._last = Leg("serial", 1)
        self._lock = threading.RLock()
        self._looks_here = False
        self._unsure: Look | None = None
        self._is_read = False
        self._is_running = False
        self._hands_in = False
        self._expected = 0.0
        self._begun = time.perf_counter()
        self._segment: tuple[list[Any], Iterator[Any], float] | None = None
        self._is_over = False
        self._patience = _PATIENCE_SECONDS
        self._looked_at = 0.0
        self._mean = 0.0

    @property
    def engine(self) -> str:
        """What runs the tasks, for readers."""
        try:
            leg = self._legs[-1]
        except IndexError:  # there is none now; another thread may be asking
            leg = self._last
        return leg.engine if leg.pool is None else f"{leg.engine} x{leg.workers}"

    def has_threads(self) -> bool:
        """Whether it has a leg whose threads may have to grow."""
        return any(leg.engine == "threads" for leg in (self._last, *self._legs))

    def begin(self) -> None:
        """Run the first items here, or hand them in where it is known what to do with them."""
        fn = self._plan.fn
        if is_coroutine_function(fn):
            most = min(max(self._source.left(), 1), self._home.most_at_once)
            self._follow(Choice("async", most, "a coroutine function: an event loop runs it"))
            return
        forced = self._home.forced_engine()
        if forced is not None:
            self._follow(Choice(forced, self._home.fixed_workers(forced), "asked for"))
            return
        if self._source.left() > 1 and (know := self._home.recall(fn)) is not None:
            choice = choose(know, self._source.left(), self._home.stable.open_engines())
            if know.is_remembered:
                choice = replace(choice, rivals=())  # they were tried then
            self._mean, self._expected = know.wall(), choice.pace
            self._follow(choice)
            return
        self._look()

    # The look, here.

    def _look(self, *, again: bool = False, now: tuple[EngineName, int] | None = None) -> None:
        """Run items here until it is known where to go on, or threads have begun to help because this one waits."""
        look = self._unsure or Look(self._home, self._plan.fn, star=self._source.star, now=now)
        self._unsure = None
        leg, values = Leg("serial", 1), list[Any]()
        with self._lock:
            self._looks_here = True
        try:
            with self._home.watching(self):
                choice, error = self._look_until_sure(look, values, again=again)
        finally:
            with self._lock:
                helped, self._looks_here = not self._looks_here, False
            look.close()
            self._looked_at = time.monotonic()
            self._mean = look.mean()
        if choice is None and error is None and not helped and self._is_full(values):
            self._unsure = look
        leg.is_over = self._unsure is not None
        leg.results = given_out(values, error)
        with self._lock:
            self._legs.insert(len(self._legs) - helped, leg)
            if choice is not None and not helped:
                self._follow(choice)

    def _is_full(self, values: list[Any]) -> bool:
        """Whether no more items may be taken before results are."""
        most = self._most_ahead()
        return most is not None and len(values) >= most

    def _most_ahead(self) -> int | None:
        """Return how many results may wait for the reader while tasks run here."""
        if self._plan.buffersize is not None or self._source.eager:
            return self._plan.buffersize
        return _GENERATED_AHEAD if self._is_read else _GENERATED_FIRST

    def _look_until_sure(
        self, look: Look, values: list[Any], *, again: bool
    ) -> tuple[Choice | None, BaseException | None]:
        choice, error, sprints = None, None, not again and not look.is_serious()
        while choice is None and not self._is_full(values):
            count = self._at_most(look.next_sprint() if sprints else 1, values)
            with self._lock:  # who begins to help meanwhile must not come before the items that are run here
                items = self._source.take(count) if self._looks_here else []
            if not items:
                break
            item = items[-1]
            if again and not look.is_metering():
                look.become_serious(item)
            before = len(values)
            self._is_running = True
            if sprints:
                seconds, error = self._run_segment(items, values, 0.0)
                sprints = look.note(len(values) - before, seconds)
            else:
                error = run_here(look.call, [item], values, star=False)
            self._is_running = False
            if error is None and (error := self._lateness()) is not None:
                del values[before:]
            if error is not None:
                break
            if not sprints:
                choice = look.think(self._source.left(), item)
        return choice, error

    def _at_most(self, count: int, values: list[Any]) -> int:
        most = self._most_ahead()
        return count if most is None else max(min(count, most - len(values)), 1)

    def _run_segment(
        self, items: list[Any], values: list[Any], most_seconds: float
    ) -> tuple[float, BaseException | None]:
        """Run items here, in a plain loop that is cut short when it waits and takes longer than that."""
        iterator, before = iter(items), len(values)
        begin = time.perf_counter()
        self._segment = items, iterator, begin + most_seconds
        try:
            error = collected(calls(self._plan.fn, iterator, star=self._source.star), values)
        finally:
            with self._lock:
                self._segment = None
        seconds = time.perf_counter() - begin
        missing = len(items) - (len(values) - before)  # who cuts the loop takes items off the list
        return seconds, stopped(error, missing)

    def _lateness(self) -> BaseException | None:
        """Return what is to be raised when the time for all results is over."""
        return TimeoutError() if self._deadline is not None and time.monotonic() > self._deadline else None

    def _bridge(self, pool: Any, workers: int) -> Leg | None:
        """While processes start, run items here."""
        if self._mean > _BRIDGE_TASK_SECONDS:
            return None
        end, error = time.monotonic() + _BRIDGE_SECONDS, None
        leg, values = Leg("serial", 1), list[Any]()
        while error is None and len(pool.worker_pids()) < workers and time.monotonic() < end:
            items = self._source.take(1)
            if not items:
                break
            error = run_here(self._plan.fn, items, values, star=self._source.star)
        leg.results = given_out(values, error)
        return leg

    # Legs.

    def _follow(self, choice: Choice, *, after: Leg | None = None) -> None:
        """Begin the leg that was chosen."""
        engine, workers, left = choice.engine, choice.workers, self._source.left()
        self._home.note(self._plan.fn, engine, workers, self._source.given, choice.reason)
        metered = self._home.metered(self._plan.fn)
        if engine == "serial" or left == 0:
            self._legs.append(Leg("serial", 1, metered=metered))
            return
        was_open = engine in self._home.stable.open_engines()
        pool = self._pool_for(engine, workers)
        if engine == "processes" and not was_open and after is None:
            pool.warm_up()
            bridge = self._bridge(pool, workers)
            if bridge is not None:
                self._legs.append(bridge)
        trial_seconds = choice.tried_seconds if choice.rivals else 0.0
        self._start(Leg(engine, workers, pool, trial_seconds=trial_seconds, metered=metered))

    def _pool_for(self, engine: EngineName, workers: int) -> Any:
        stable = self._home.stable
        if engine == "threads" and self._home.waits(self._plan.fn):
            pool = self._home.threads_for(self._plan.fn)
            pool.raise_workers(min(workers, stable.most_threads))
            return pool
        return stable.pool(engine, workers)

    def _start(self, leg: Leg) -> None:
        """Hand the first items of a leg in."""
        self._legs.append(leg)
        try:
            leg.results = self._results_of(leg, self._feed(leg))
        except BaseException:
            self._legs.remove(leg)
            raise
        if leg.engine == "threads":
            self._home.watch(self)

    def _results_of(self, leg: Leg, items: Any) -> Any:
        plan, pool = self._plan, leg.pool
        left = None if self._deadline is None else max(self._deadline - time.monotonic(), 0.0)
        star = self._source.star
        inner = replace(plan, iterables=(items,), timeout=left, eager=False)
        if leg.engine == "threads":
            return pool.results_of(inner, items, star=star, first=_FIRST_THREADS_TASKS)
        if leg.engine == "processes":
            return pool.results_of(inner, items, star=star, rescue=self._rescue)
        if star:
            inner = replace(inner, iterables=columns(items, len(plan.iterables)))
        return pool._results(inner)  # noqa: SLF001 - of our own pools

    def _rescue(self, item: Any, error: BaseException) -> Any:
        """Run in a thread the task of an item that does not pickle, though those before it did."""
        self._home.warn_late(self._plan.fn, error)
        args = item if self._source.star else (item,)
        return self._home.stable.threads().submit(self._plan.fn, *args)

    def _feed(self, leg: Leg) -> Generator[Any, None, None]:
        """Give a leg its items, and look how it is doing from time to time."""
        while not leg.is_over:
            count = leg.next_block()
            if leg.given and leg.engine != "threads":  # those are looked at while they are read
                with self._lock:
                    self._control(leg)
            if leg.is_over:
                return
            if self._source.eager:
                items = self._source.take(count)
                if not items:
                    return
                leg.hand_in(items)
                yield from items
                continue
            for _ in range(count):  # what has not been asked for is not taken
                items = self._source.take(1)
                if not items:
                    return
                leg.hand_in(items)
                yield items[0]

    # Changing one's mind.

    def _control(self, leg: Leg) -> None:
        """Look how a leg is doing; end it when another engine is better."""
        if self._hands_in or leg.engine == "async" or self._home.forced_engine() is not None:
            return
        window = leg.window()
        if window is None:
            return
        tasks, seconds, cpu = window
        if leg.pool is self._home.stable.growing() and (told := leg.found_out()):
            self._home.note(self._plan.fn, "threads", leg.workers, self._source.given, told)
        if leg.trial_seconds > 0.0:
            self._judge_trial(leg)
            return
        if not tasks:
            leg.is_doubtful = True
            if time.monotonic() - self._looked_at >= self._patience:
                self._reconsider(leg)
            return
        is_new = not self._home.is_metered(self._plan.fn) and cpu > BUSY_CORES * seconds
        is_surprising = self._surprises(seconds / tasks)
        if leg.pilot.observe(tasks, seconds, cpu, leg.others()) or is_new or is_surprising:
            leg.is_doubtful = True
        if not leg.may_gain(self._source.left(), window):
            return
        if leg.is_doubtful and time.monotonic() - self._looked_at >= self._patience:
            self._reconsider(leg)

    def _surprises(self, seconds: float) -> bool:
        """Whether so many seconds a task are others than were forecast before this map began. Says so once."""
        expected, self._expected = self._expected, 0.0
        return expected > 0.0 and not expected / _SURPRISE < seconds < expected * _SURPRISE

    def _judge_trial(self, leg: Leg) -> None:
        done, seconds = leg.so_far()
        if seconds < leg.trial_seconds or done < 2 * leg.workers:
            return
        know, left = self._home.knowledge(self._plan.fn), self._source.left() + leg.waiting()
        know.learn_trial(leg.engine, leg.workers, done, seconds)
        choice = choose(know, left, self._home.stable.open_engines())
        rest = seconds / done * left
        if choice.rivals and rest > _TRIAL_SHARE * (choice.tried_seconds + _START_SECONDS):
            engine, workers = choice.rivals[0]
            choice = Choice(
                engine, workers, f"to be tried: it may beat {leg.engine}", choice.rivals, choice.tried_seconds
            )
        else:
            # An engine that is only forecast to be faster than this one has been here has to show it.
            is_tried = any(trial.engine == choice.engine for trial in know.case.trials)
            rivals = () if is_tried else ((leg.engine, leg.workers),)
            choice = Choice(choice.engine, choice.workers, choice.reason, rivals, choice.tried_seconds)
        if choice.engine == leg.engine:
            leg.trial_seconds = 0.0
            return
        self._switch(leg, choice)

    def _reconsider(self, leg: Leg) -> None:
        """Look at some tasks here, and choose again: they are no longer what they were, or were never metered."""
        leg.is_doubtful = False
        self._source.give_back(leg.recall())
        if leg.engine == "threads":
            # What still runs beside the tasks that are looked at would be taken for a part of them.
            leg.rest = drained(leg.results)
        know = self._home.knowledge(self._plan.fn)
        know.is_checked, know.case.payload = False, None
        self._look(again=True, now=None if leg.pool is None else (leg.engine, leg.workers))
        latest = self._legs[-1] if self._legs else leg
        if latest.engine == leg.engine:
            self._patience = min(2 * self._patience, _MOST_PATIENCE_SECONDS)
        if leg.pool is not None and not any(
            other.pool is not None or other.engine == "serial" for other in self._legs
        ):
            self._follow(Choice(leg.engine, leg.workers, "as before"), after=leg)

    def _switch(self, leg: Leg, choice: Choice) -> None:
        self._source.give_back(leg.recall())
        self._follow(choice, after=leg)

    # What the scout's thread does.

    def on_wait(self) -> bool:
        """The program waits: have threads help, or let there be more of them. False when neither helps now."""
        if not self._lock.acquire(blocking=False):
            return True
        try:
            if self._is_over:
                return False
            has_helped = False
            if self._segment is not None:
                has_helped = self._cut()
            elif self._looks_here and self._is_running:
                has_helped = self._help()
            leg = self._legs[-1] if self._legs else self._last
            if leg.engine == "threads" and leg.pool is self._home.stable.growing():
                has_helped |= self._home.grow(leg.pool)
            return has_helped
        finally:
            self._lock.release()

    def _help(self) -> bool:
        if not self._home.allows("threads") or not self._source.left():
            return False
        self._looks_here = False
        stable = self._home.stable
        try:
            leg = Leg("threads", stable.most_threads, self._home.threads_for(self._plan.fn))
            # The scout's own context is empty: tasks are to see that of whoever called `map`.
            self._context.copy().run(self._start, leg)
        except RuntimeError:
            if not (stable.is_closed() or _core.refuses_tasks()):
                raise
            self._looks_here = True  # the pool or the interpreter ends: this thread goes on alone
            return False
        self._home.note(
            self._plan.fn,
            "threads",
            stable.most_threads,
            self._source.given,
            "tasks wait: others go on meanwhile",
        )
        return True

    def _cut(self) -> bool:
        assert self._segment is not None  # noqa: S101 - the caller has looked
        items, iterator, due = self._segment
        if not self._home.allows("threads"):
            return False
        if time.perf_counter() < due:
            return True
        self._source.give_back(_core.cut_short(items, iterator))
        self._segment = None
        return self._help()

    # Reading.

    def read(self, unread: _core.Finalizer) -> Generator[T, None, None]:
        """Give the results, and leave `unread` undone as soon as somebody asks for the first."""
        unread.detach()
        self._is_read = True
        try:
            while (leg := self._next_leg()) is not None:
                if leg.pool is None and not leg.is_over:
                    yield from leg.results
                    yield from self._loop(leg)
                elif leg.engine == "threads":
                    yield from self._watched(leg)
                else:
                    yield from leg.results
            self._remember()
        finally:
            self.abandon()

    def _watched(self, leg: Leg) -> Generator[T, None, None]:
        """Give a leg's results, and look how it is doing: its feed may be empty while most of its tasks still wait."""
        results: Any = leg.results
        for count in itertools.count():
            if count % _LOOK_EVERY == 0 or not results.wait(_LOOK_SECONDS):
                # Where many threads compute in turn, the next result may be long in coming.
                while not leg.is_over:
                    with self._lock:
                        self._control(leg)
                    if leg.is_over or results.wait(_LOOK_SECONDS):
                        break
                if leg.rest is not None:
                    yield from leg.rest
                    return
            try:
                value = next(results)
            except StopIteration:
                return
            leg.recent.popleft()
            yield value

    def _remember(self) -> None:
        """Keep for other runs what this one has learned, now that it has come to its end."""
        seconds, fn = time.perf_counter() - self._begun, self._plan.fn
        if seconds >= _WORTH_REMEMBERING_SECONDS and self._home.memory.enabled and self._home.is_metered(fn):
            know = self._home.knowledge(fn)
            leg, tasks = self._last, self._source.given
            self._home.memory.note(fn, know.recollection(leg.engine, leg.workers, tasks, seconds))

    def _next_leg(self) -> Leg | None:
        with self._lock:
            if not self._legs and self._source.has_more():
                self._go_on()
            if not self._legs:
                return None
            self._last = self._legs.popleft()
            return self._last

    def _go_on(self) -> None:
        """The last leg has ended before the items have: another thread had begun it, which may not take them all."""
        last = self._last
        if self._unsure is not None:
            self._look()
        elif last.pool is None:
            self._legs.append(Leg("serial", 1))
        else:
            self._start(Leg(last.engine, last.workers, last.pool))

    def _loop(self, leg: Leg) -> Generator[T, None, None]:
        """Run items here, some at a time, in plain loops."""
        count, changed = self._first_segment(), False
        while not self._legs and not changed:
            items = self._source.take(self._at_most(count, []))
            if not items:
                return
            values, cpu = list[Any](), time.thread_time()
            expected = max(self._mean * count, _SEGMENT_SECONDS)
            with self._home.watching(self):
                seconds, error = self._run_segment(items, values, _OVERRUN * expected)
            cpu = time.thread_time() - cpu
            late = self._lateness()
            if late is not None:
                raise late
            yield from values
            if error is not None:
                raise error
            if values:
                self._mean = seconds / len(values)
                count = self._next_segment(count)
                if self._surprises(self._mean):
                    changed = self._mean * self._source.left() > _PATIENCE_SECONDS
                    continue
                if self._mean < TINY_SECONDS:
                    continue
                leg.is_doubtful |= leg.pilot.observe(len(values), seconds, cpu, 0.0)
                changed = leg.is_doubtful and time.monotonic() - self._looked_at >= self._patience
                changed = changed and self._mean * self._source.left() > _PATIENCE_SECONDS
        if changed and not self._legs:
            self._reconsider(leg)

    def _first_segment(self) -> int:
        return max(min(int(_SEGMENT_SECONDS / max(self._mean, 1e-7)), _MOST_IN_SEGMENT, 4096), 1)

    def _next_segment(self, count: int) -> int:
        wanted = int(_SEGMENT_SECONDS / max(self._mean, 1e-7))
        return max(min(wanted, 4 * count, _MOST_IN_SEGMENT), 1)

    # Ends.

    def abandon(self) -> None:
        """Give up what has not been taken: tasks that have not started never will."""
        with self._lock:
            if self._is_over:
                return
            self._is_over = True
            self._source.drop()
            legs, self._legs = [self._last, *self._legs], deque()
        for leg in legs:
            leg.is_over = True
            close = getattr(leg.results, "close", None)
            if close is not None:
                # Another thread may be reading it: it will see that this is over.
                with contextlib.suppress(ValueError):
                    close()
        self._home.unwatch(self)

    def cancel(self) -> None:
        """Drop what has not been handed in; what was is the pools' matter."""
        with self._lock:
            self._source.drop()

    def hand_in_all(self) -> bool:
        """Hand in what is left of collections, whoever reads the results. False when items of generators are left."""
        with self._lock:
            if self._is_over:
                return True
            if not self._plan.eager:
                return not self._source.has_more()
            self._hands_in = True
            last = self._legs[-1] if self._legs else self._last
            if last.pool is not None:
                results: Any = last.results
                results.hand_in_all()  # it pulls its feed, which ends with the items
            elif items := self._source.take(sys.maxsize):
                leg, values = Leg("serial", 1), list[Any]()
                leg.results = given_out(
                    values, run_here(self._plan.fn, items, values, star=self._source.star)
                )
                self._legs.append(leg)
            return True

    def leave(self) -> bool:
        """Hand in what is left; nobody will read the results."""
        whole = self.hand_in_all()
        with self._lock:
            self._is_over = True
            legs, self._legs = [self._last, *self._legs], deque()
        for leg in legs:
            leave = getattr(leg.results, "leave", None)
            if leave is not None:
                leave()
        self._home.unwatch(self)
        return whole
