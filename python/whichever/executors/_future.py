"""The future of a task: native, and a `concurrent.futures.Future` to everybody who asks.

``concurrent.futures.wait`` and ``as_completed`` look into a future's private parts: its condition, its state and its
list of waiters. They find here what they expect, with one difference: where a process pool runs the task, the event
that they sleep on drains that pool meanwhile, so that no other thread has to.
"""

from __future__ import annotations

import logging
import threading
from concurrent import futures
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from whichever import _core

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

_STATES = ("PENDING", "RUNNING", "CANCELLED", "CANCELLED_AND_NOTIFIED", "FINISHED")
"""The standard library's names, in the order of `FutureCell._phase`."""
_RUNNING, _NOTIFIED, _FINISHED = 1, 3, 4
_ENDED = 1  # an answer of `_listen`: the task has ended, and nobody will tell of it
_LOGGER = logging.getLogger("concurrent.futures")

T = TypeVar("T")


class Future(_core.FutureCell, futures.Future[T]):
    """The future of a task that a pool runs. Pools make them; who makes one by hand settles it by hand.

    As the standard library's, and: ``cancel()`` stops a task that runs in a process pool; ``result()`` runs such a pool
    while it waits.
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
    def _state(self) -> str:
        guard: _Guard | None = self.__dict__.get("guard")
        phase = self._phase()
        if phase >= _NOTIFIED and guard is not None and guard.ended is False:
            phase = _RUNNING  # as it was when the lock was taken
        return _STATES[phase]

    @_state.setter
    def _state(self, state: str) -> None:
        self._put(state=_STATES.index(state))

    @property
    def _result(self) -> Any:
        return self.result(0) if self._phase() == _FINISHED and not self._has_failed() else None

    @_result.setter
    def _result(self, result: Any) -> None:
        self._put(result=result)

    @property
    def _exception(self) -> BaseException | None:
        return self.exception(0) if self._phase() == _FINISHED else None

    @_exception.setter
    def _exception(self, exception: BaseException | None) -> None:
        self._put(exception=exception)

    def _put(self, **parts: Any) -> None:
        """Take a private part that somebody writes, as tests of the standard one do: state, exception and result.

        They count together, once all three or the lock's end have come.
        """
        put: dict[str, Any] = self.__dict__.setdefault("put", {})
        put.update(parts)
        if put.get("state") != _FINISHED or "result" in put:
            self._put_together()

    def _put_together(self) -> None:
        put = self.__dict__.pop("put", None)
        if put and "state" in put:
            self._force(put["state"], put.get("result"), put.get("exception"))

    def _get_snapshot(self) -> tuple[bool, bool, Any, BaseException | None]:
        """Return whether it is done, whether it was cancelled, its result and its exception, as asyncio asks."""
        if not self.done():
            return False, False, None, None
        if self.cancelled():
            return True, True, None, None
        error = self.exception(0)
        return True, False, None if error is not None else self.result(0), error

    def _tell(self) -> None:
        """Tell everybody who waits for the end of the task, now that it is there."""
        self._tell_waiters()
        self._call_all_back()

    def _tell_waiters(self) -> None:
        waiters: _Waiters | None = self.__dict__.get("waiters")
        if waiters is not None:
            self._guard().tell(waiters)

    def _call_all_back(self) -> None:
        for callback in self._take_callbacks():
            self._call_back(callback)

    def _call_back(self, callback: Callable[[Self], object]) -> None:
        try:
            callback(self)
        except Exception:
            _LOGGER.exception("exception calling callback for %r", self)

    def _refuse_state(self) -> None:
        _LOGGER.critical("Future %s in unexpected state: %s", id(self), self._state)
        msg = "Future in unexpected state"
        raise futures.InvalidStateError(msg)

    def __repr__(self) -> str:
        head = f"<{type(self).__name__} at {id(self):#x} state="
        if self._phase() != _FINISHED:
            return f"{head}{self._state.partition('_')[0].lower()}>"
        error = self._exception
        what = (
            f"returned {type(self._result).__name__}" if error is None else f"raised {type(error).__name__}"
        )
        return f"{head}finished {what}>"


class _Guard:
    """A future's lock, as ``concurrent.futures`` uses it: while it is held, the state does not change.

    The task may end all the same; `ended` is what the holder saw when it took the lock. Then the holder tells of it:
    whoever found that it has ended never waits for the lock, which a Ctrl-C may have left held for good.
    """

    def __init__(self, future: Future[Any]) -> None:
        self._future = future
        self._lock = threading.RLock()
        self._depth = 0
        self._late: _Waiters | None = None
        self.ended: bool | None = None

    def acquire(self) -> bool:
        """Take the lock and note whether the task has ended."""
        self._lock.acquire()
        self._depth += 1
        if self._depth == 1:
            self.ended = self._future._phase() >= _NOTIFIED  # noqa: SLF001 - the same class in two parts
        return True

    def release(self) -> None:
        """Give the lock back."""
        if self._depth == 1:
            self._future._put_together()  # noqa: SLF001
            self.ended = None
        self._depth -= 1
        self._lock.release()
        if self._late is not None:
            self.tell(self._late)

    def tell(self, waiters: _Waiters) -> None:
        """Tell the waiters that the task has ended; or leave that to whoever holds the lock."""
        self._late = waiters  # before the try: who holds the lock looks at it after having given it back
        while self._late is not None and self._lock.acquire(blocking=False):
            try:
                self._late = None
                waiters.tell()
            finally:
                self._lock.release()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def notify_all(self) -> None:
        """Wake nobody: whoever waits for the future is woken by its end."""


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
        if self._future._guard().ended:  # noqa: SLF001
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
    return partial(Future.__new__, Future)
