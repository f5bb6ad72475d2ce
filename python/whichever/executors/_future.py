"""The future of a task: native, and a `concurrent.futures.Future` to everybody who asks.

``concurrent.futures.wait`` and ``as_completed`` look into a future's private parts: its condition, its state and its
list of waiters. They find here what they expect, with one difference: the event that they sleep on drains the
pool meanwhile, so that no other thread has to.
"""

from __future__ import annotations

import logging
import threading
from concurrent import futures
from typing import TYPE_CHECKING, Any, TypeVar

from whichever import _core

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

_PENDING, _RUNNING, _CANCELLED, _FINISHED = "PENDING", "RUNNING", "CANCELLED_AND_NOTIFIED", "FINISHED"
_ENDED = 1  # an answer of `_listen`: the task has ended, and nobody will tell of it

T = TypeVar("T")


class Future(_core.FutureCell, futures.Future[T]):
    """The future of a task that a pool runs. Pools make them.

    As the standard library's, and: ``cancel()`` stops a task that is running; ``result()`` runs the pool while it
    waits.
    """

    _condition = property(lambda self: self._guard())
    _waiters = property(lambda self: self._waiting())

    def __init__(self) -> None:
        """Take over nothing: the native half holds the state."""

    def _guard(self) -> _Guard:
        guard: _Guard | None = self.__dict__.get("guard")
        return self.__dict__.setdefault("guard", _Guard(self)) if guard is None else guard

    def _waiting(self) -> _Waiters:
        waiters: _Waiters | None = self.__dict__.get("waiters")
        return self.__dict__.setdefault("waiters", _Waiters(self)) if waiters is None else waiters

    @property
    def _state(self) -> str:  # type: ignore[override]  # nobody writes it
        guard: _Guard | None = self.__dict__.get("guard")
        ended = None if guard is None else guard.ended  # read once: its holder may let go meanwhile
        if self.done() if ended is None else ended:
            return _CANCELLED if self.cancelled() else _FINISHED
        return _RUNNING if self.running() else _PENDING

    @property
    def _result(self) -> Any:  # type: ignore[override]
        return None if self._has_failed() else self.result(0)

    @property
    def _exception(self) -> BaseException | None:  # type: ignore[override]
        return self.exception(0)

    def _tell(self) -> None:
        """Tell everybody who waits for the end of the task, now that it is there."""
        waiters: _Waiters | None = self.__dict__.get("waiters")
        if waiters is not None:
            with self._guard():
                waiters.tell()
        for callback in self._take_callbacks():
            self._call_back(callback)

    def _call_back(self, callback: Callable[[Self], object]) -> None:
        try:
            callback(self)
        except Exception:
            logging.getLogger("concurrent.futures").exception("exception calling callback for %r", self)

    def __repr__(self) -> str:
        state = self._state.partition("_")[0].lower()
        return f"<{type(self).__name__} at {id(self):#x} state={state}>"


class _Guard:
    """A future's lock, as ``concurrent.futures`` uses it: while it is held, the state does not change.

    The task may end all the same; `ended` is what the holder saw when it took the lock.
    """

    def __init__(self, future: Future[Any]) -> None:
        self._future = future
        self._lock = threading.RLock()
        self._depth = 0
        self.ended: bool | None = None

    def acquire(self) -> bool:
        """Take the lock and note whether the task has ended."""
        self._lock.acquire()
        self._depth += 1
        if self._depth == 1:
            self.ended = self._future.done()
        return True

    def release(self) -> None:
        """Give the lock back."""
        self._depth -= 1
        if self._depth == 0:
            self.ended = None
        self._lock.release()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def notify_all(self) -> None:
        """Wake nobody: whoever waits for the future drains its pool."""


class _Waiters(list[Any]):
    """The waiters of ``wait`` and ``as_completed`` on one future. Its lock is held whenever this is used."""

    def __init__(self, future: Future[Any]) -> None:
        super().__init__()
        self._future = future
        self._told: list[Any] = []

    def append(self, waiter: Any) -> None:
        """Add a waiter; tell it at once of an end that came after its owner looked."""
        if not isinstance(waiter.event, _core.DrainingEvent):
            waiter.event = _core.DrainingEvent()
        waiter.event.drain(self._future)
        super().append(waiter)
        if self._future._guard().ended:  # noqa: SLF001 - the same class in two parts
            self._told.append(waiter)
        elif self._future._listen() == _ENDED:  # noqa: SLF001
            self._tell(waiter)

    def remove(self, waiter: Any) -> None:
        """Remove a waiter."""
        super().remove(waiter)
        self._told = [told for told in self._told if told is not waiter]

    def tell(self) -> None:
        """Tell every waiter once."""
        for waiter in list(self):
            if not any(told is waiter for told in self._told):
                self._tell(waiter)

    def _tell(self, waiter: Any) -> None:
        self._told.append(waiter)
        future = self._future
        if future.cancelled():
            waiter.add_cancelled(future)
        elif future._has_failed():  # noqa: SLF001
            waiter.add_exception(future)
        else:
            waiter.add_result(future)


def new_future() -> Callable[[], Future[Any]]:
    """Return a function that makes a future without calling its ``__init__``, which does nothing."""
    make = Future.__new__
    return lambda: make(Future)
