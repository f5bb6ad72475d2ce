"""What the players of the pools' stress do to a pool, one random move after the other.

A player is a thread (`Player`), or an event loop in a thread (`LoopPlayer`). Its dice are its own, so that a seed
decides all its moves, if not when they meet those of others.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
from concurrent import futures
from typing import TYPE_CHECKING, Any

import stress_tasks
from stress_book import BOUND_S, Handed, Mapped

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

    from stress_book import Book

NUMBERS = 10**7
"""Task numbers that each player has."""
SHORT_S = (0.0, 0.0005, 0.003)
"""Timeouts that mostly end a wait, or just not."""
WITHIN = (futures.FIRST_COMPLETED, futures.FIRST_EXCEPTION, futures.ALL_COMPLETED)


class Player(threading.Thread):
    """Somebody at a pool.

    Args:
        pool: Where to hand in.
        book: Where to write down what was done.
        dice: What decides.
        place: The player's number; its tasks have numbers of their own.
        is_async: Whether the pool takes coroutine functions.
    """

    def __init__(self, pool: Any, book: Book, dice: random.Random, place: int, *, is_async: bool) -> None:
        super().__init__(name=f"player-{place}", daemon=True)
        self.pool, self.book, self.dice = pool, book, dice
        self.play = stress_tasks.play_async if is_async else stress_tasks.play
        self._nests = isinstance(book.notes, stress_tasks.Notes) and not is_async
        self._next = itertools.count(place * NUMBERS)
        self.ending = threading.Event()
        """Set when no more moves are wanted."""
        self.moves = 0

    def run(self) -> None:
        """Make moves until the round ends."""
        moves = [self._submit] * 8 + [self._cancel] * 3 + [self._ask] * 4 + [self._listen] * 4
        moves += (self._wait, self._as_completed, self._map, self._map, self._look, self._settle)
        try:
            while not self.ending.is_set():
                self.dice.choice(moves)()
                self.moves += 1
        except BaseException as error:  # noqa: BLE001 - whatever it is, it has to be told
            self.book.wrong.append(f"{self.name}: {error!r} {where(error)}")
        finally:
            self.pool = None

    def _submit(self) -> None:
        task = self._new()
        if self._nests and self.dice.random() < 0.1:
            self.hand_in(self.pool, task, _nest, self, self.pool, task, self._new())
        else:
            self.hand_in(self.pool, task, self.play, self.book.notes, task.number, task.kind)

    def _new(self) -> Handed:
        return Handed(next(self._next), self.dice.choice(stress_tasks.KINDS))

    def hand_in(self, pool: Any, task: Handed, fn: Any, *arguments: Any) -> None:
        """Submit a task and write it down, unless the pool refuses it."""
        try:
            task.future = pool.submit(fn, *arguments)
        except RuntimeError:  # closed, or broken
            self.book.refused.append(task)
            self.ending.wait(0.001)
        else:
            self.book.tasks.append(task)

    def _any(self, most: int = 1) -> list[Handed]:
        """Choose tasks of anybody, mostly late ones."""
        tasks = self.book.tasks
        latest = len(tasks)
        reach = self.dice.choice([5, 50, 100_000])
        return [
            tasks[self.dice.randrange(max(0, latest - reach), latest)]
            for _ in range(self.dice.randint(1, most))
            if latest
        ]

    def _cancel(self) -> None:
        for task in self._any(3):
            if task.future.cancel() and not task.future.cancelled():
                self.book.wrong.append(f"{task}: cancel() was True")

    def _ask(self) -> None:
        for task in self._any():
            ask = task.future.exception if self.dice.random() < 0.5 else task.future.result
            seconds = self.dice.choice([*SHORT_S, BOUND_S])
            try:
                ask(seconds)
            except TimeoutError:
                if seconds == BOUND_S:
                    self.book.wrong.append(f"{task} has no result after {BOUND_S} s")
            except (futures.CancelledError, Exception):  # noqa: BLE001, S110 - outcomes are judged at the end
                pass

    def _listen(self) -> None:
        for task in self._any():
            token, extra, other = self.dice.randrange(1 << 30), self._new(), self._any()
            callback = _Callback(self, task, token, extra, other)
            task.due.append(token)
            task.future.add_done_callback(callback)

    def _wait(self) -> None:
        tasks = self._any(20)
        seconds = self.dice.choice([*SHORT_S, BOUND_S])
        unsettled = {task.future for task in tasks}
        done, waiting = futures.wait(unsettled, seconds, self.dice.choice(WITHIN))
        if done | waiting != unsettled or (seconds == BOUND_S and unsettled and not done):
            self.book.wrong.append(
                f"wait({len(unsettled)} futures, {seconds}) gave {len(done)}, {len(waiting)}"
            )

    def _as_completed(self) -> None:
        wanted = {task.future for task in self._any(20)}
        seconds = self.dice.choice([*SHORT_S, BOUND_S])
        try:
            given = list(futures.as_completed(wanted, seconds))
        except TimeoutError:
            if seconds == BOUND_S:
                self.book.wrong.append(f"as_completed waits for ever for some of {len(wanted)} futures")
        else:
            if len(given) != len(wanted) or set(given) != wanted:
                self.book.wrong.append(f"as_completed gave {len(given)} of {len(wanted)} futures")

    def _map(self) -> None:
        count = self.dice.choice([0, 1, 3, 30, 200])
        first = next(self._next)
        self._next = itertools.count(first + count + 1)
        numbers: Any = range(first, first + count)
        is_list = self.dice.random() < 0.5
        how = self.dice.choice(["whole", "whole", "part", "close", "unread" if is_list else "whole"])
        ordered = self.dice.random() < 0.5
        options: dict[str, Any] = {"ordered": ordered, "buffersize": self.dice.choice([None, None, 1, 7])}
        if self.dice.random() < 0.1:
            options["timeout"], how = self.dice.choice(SHORT_S), "part"
        kinds = [self.dice.choice(("value", "sleep")) for _ in numbers]
        notes = [self.book.notes] * count
        arguments = (notes, numbers, kinds) if is_list else (iter(notes), iter(numbers), iter(kinds))
        if how == "unread" and options["buffersize"] is not None:
            how = "close"  # to be dropped unread would be warned of
        asked = f"{how} of a {'list' if is_list else 'generator'}, {options}"
        mapped = Mapped(first, count, asked, may_miss=how in ("part", "close"))
        self.book.maps.append(mapped)
        try:
            results = self.pool.map(self.play, *arguments, **options)
            self._read(results, mapped, how, ordered=ordered)
        except (RuntimeError, TimeoutError, futures.CancelledError) as error:  # closed, broken, late, dropped
            mapped.may_miss, mapped.raised = True, type(error)

    def _read(self, results: Iterator[Any], mapped: Mapped, how: str, *, ordered: bool) -> None:
        if how == "unread":
            return
        wanted = range(mapped.first, mapped.first + mapped.count)
        most = self.dice.randint(0, mapped.count) if how == "part" else mapped.count
        if how == "close":
            most = min(most, 2)
        got = [result.number for result in itertools.islice(results, most)]
        if how == "whole":
            got += [result.number for result in results]
        elif how == "close" or not most:
            results.close()  # type: ignore[attr-defined]
        right = got == list(wanted[: len(got)]) if ordered else len(set(got) & set(wanted)) == len(got)
        if not right or (how == "whole" and len(got) != mapped.count):
            self.book.wrong.append(f"{mapped} gave {len(got)}: {got[:SHOWN_NUMBERS]}")

    def _look(self) -> None:
        repr(self.pool)
        if hasattr(self.pool, "statistics"):
            self.pool.statistics()
        for task in self._any():
            repr(task.future)
            task.future.running()

    def _settle(self) -> None:
        for task in self._any() if self.dice.random() < 0.2 else ():
            task.by_hand = True
            with contextlib.suppress(futures.InvalidStateError):
                task.future.set_result(stress_tasks.Tracked(task.number))


SHOWN_NUMBERS = 10


class LoopPlayer(Player):
    """Somebody who awaits tasks on an event loop."""

    def run(self) -> None:
        """Keep some coroutines busy until the round ends."""

        async def main() -> None:
            async with asyncio.TaskGroup() as group:
                for _ in range(self.dice.randint(1, 5)):
                    group.create_task(self._await_tasks())

        try:
            asyncio.run(main())
        except BaseException as error:  # noqa: BLE001 - whatever it is, it has to be told
            self.book.wrong.append(f"{self.name}: {error!r} {where(error)}")
        finally:
            self.pool = None

    async def _await_tasks(self) -> None:
        while not self.ending.is_set():
            task = self._new()
            self.hand_in(self.pool, task, self.play, self.book.notes, task.number, task.kind)
            self.moves += 1
            if task.future is None:
                return
            seconds = self.dice.choice([*SHORT_S, BOUND_S, BOUND_S])
            try:
                await asyncio.wait_for(asyncio.wrap_future(task.future), seconds)
            except TimeoutError:
                if seconds == BOUND_S:
                    self.book.wrong.append(f"{task} was awaited for {BOUND_S} s")
            except asyncio.CancelledError:  # somebody cancelled the task, not us
                if not task.future.cancelled():
                    raise
            except Exception:  # noqa: BLE001, S110 - outcomes are judged at the end
                pass
            if self.dice.random() < 0.3:
                await asyncio.sleep(0)


class _Callback:
    """A callback that does what one may: hand in more, cancel others, ask, raise."""

    def __init__(self, player: Player, task: Handed, token: int, extra: Handed, others: list[Handed]) -> None:
        self._player, self._task, self._token = player, task, token
        self._extra, self._others = extra, others
        self._does = player.dice.choice(("nothing", "hand in", "raise", "cancel", "ask", "listen"))

    def __call__(self, future: Any) -> None:
        if future is not self._task.future or not future.done():
            self._player.book.wrong.append(f"a callback of {self._task} came for {future!r}")
        try:
            self._act(future)
        finally:
            self._task.called.append(self._token)

    def _act(self, future: Any) -> None:
        player, extra = self._player, self._extra
        pool = player.pool  # None once the player has gone
        if self._does == "hand in" and pool is not None:
            player.hand_in(pool, extra, player.play, player.book.notes, extra.number, extra.kind)
        elif self._does == "raise":
            raise stress_tasks.PlannedError(self._token)
        elif self._does == "cancel":
            for other in self._others:
                other.future.cancel()
        elif self._does == "listen":
            self._task.due.append(-self._token - 1)
            future.add_done_callback(lambda _: self._task.called.append(-self._token - 1))
        elif self._does == "ask" and not future.cancelled():
            future.exception()


def _nest(player: Player, pool: Any, task: Handed, inner: Handed) -> stress_tasks.Tracked:
    """Be a task that hands in another."""
    player.hand_in(pool, inner, player.play, player.book.notes, inner.number, inner.kind)
    del pool  # an error's traceback holds this frame, and would hold the pool
    return stress_tasks.play(player.book.notes, task.number, task.kind)


def where(error: BaseException) -> str:
    """Say where something was raised, innermost first."""
    places, trace = [], error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        places.append(f"{code.co_name}:{trace.tb_lineno}")
        trace = trace.tb_next
    return " < ".join(reversed(places))
