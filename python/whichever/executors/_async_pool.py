"""`AsyncPool`: an executor of coroutine functions, on an event loop in a thread of its own."""

from __future__ import annotations

import contextvars
from typing import TYPE_CHECKING, Any, TypeVar

from whichever import _core
from whichever.executors._async_loop import AsyncFuture, Job, LoopThread, Setup
from whichever.executors._coroutines import is_coroutine_function
from whichever.executors._face import PoolFace, PoolOptions, check_initializer, check_workers
from whichever.executors._remote.sharers import sharers

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable
    from typing import ParamSpec

    from whichever._types import AsyncPoolStatistics
    from whichever.executors._face import Rules

    P = ParamSpec("P")

T = TypeVar("T")

_MOST_AT_ONCE = 100  # what aiohttp's connector allows, too; servers and descriptor limits seldom mind


class AsyncPool(PoolFace):
    """Runs coroutine functions on an event loop in a thread of its own, a bounded number of them at once.

    A synchronous program waits for many things at once without becoming an async one: tasks are handed in from any
    thread, and their futures are waited for there (``future.result()``, `map`) or in another event loop
    (``await asyncio.wrap_future(future)``). ``future.cancel()`` cancels a coroutine that runs. Context variables
    travel with the task. The loop starts with the first task.

    A coroutine that computes or blocks holds up all others: give it to ``asyncio.to_thread`` or another pool.

    Args:
        max_workers: Most coroutines at once; the others wait. None for 100. Set it to what the other side bears.
        loop_factory: Makes the event loop, as in ``asyncio.Runner`` (``uvloop.new_event_loop``); None for asyncio's.
        initializer: Called on the loop before the first task; a plain or a coroutine function, or one that gives an
            async context manager, which is entered before the first task and left on the loop when the pool ends:
            the place for a session or connection. When it raises, the pool is broken.
        initargs: Its arguments.
        timeout: Seconds that each task may run before it is cancelled; None for no limit. See `options`.
        daemon: Whether coroutines that still run when the program ends are cancelled instead of awaited.
        name: The thread's name.

    Raises:
        ValueError: An argument is out of range.
        TypeError: An argument is of the wrong type.
    """

    _engine = "async"

    def __init__(  # noqa: PLR0913 - what a demanding user sets
        self,
        max_workers: int | None = None,
        *,
        loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        timeout: float | None = None,
        daemon: bool = False,
        name: str = "whichever-async",
    ) -> None:
        limit = check_workers(_MOST_AT_ONCE if max_workers is None else max_workers)
        super().__init__(limit, (timeout, 0))
        check_initializer(initializer)
        if loop_factory is not None and not callable(loop_factory):
            msg = "loop_factory must be a callable"
            raise TypeError(msg)
        share = sharers() * limit
        setup = Setup(limit, loop_factory, initializer, tuple(initargs), daemon, name, share)
        self._loop = LoopThread(setup)
        self._finalizer = _core.Finalizer(self._loop.close)

    def submit(  # type: ignore[override] # coroutine functions only
        self, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> AsyncFuture[T]:
        """Hand in a task: ``await fn(*args, **kwargs)``.

        Raises:
            RuntimeError: The pool was shut down.
            PoolBrokenError: The pool's initializer raised, or its loop was stopped.
            TypeError: `fn` is not a coroutine function.
        """
        return self._submit(self._rules, fn, args, kwargs)

    def _submit(self, rules: Rules, fn: Callable[..., Any], args: Any, kwargs: Any) -> AsyncFuture[Any]:
        if not is_coroutine_function(fn):
            named = getattr(fn, "__qualname__", repr(fn))
            msg = f"AsyncPool runs coroutine functions (async def), and {named} is none: a ThreadPool runs it"
            raise TypeError(msg)
        job = Job(fn, args, kwargs, contextvars.copy_context(), rules[0])
        return self._loop.submit(job)

    def options(self, *, timeout: float | None = None) -> PoolOptions:
        """Return this pool under other rules: ``pool.options(timeout=2.5).submit(fn)``.

        Args:
            timeout: Seconds that each task may run before it is cancelled and fails with a `TaskTimeoutError`; None
                for the pool's own limit. The time that it waits to be started does not count.
        """
        return PoolOptions(self, (self._rules[0] if timeout is None else timeout, 0))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - as the standard one
        """Take no more tasks; the loop ends when those handed in have.

        Args:
            wait: Whether to return only then. Ctrl-C while it waits cancels what runs.
            cancel_futures: Whether to cancel tasks that have not started. Those that run, run on.

        Raises:
            RuntimeError: It is to wait, and was called on the pool's own loop.
        """
        self._finalizer.detach()
        self._loop.close(cancel_futures=cancel_futures)
        if wait:
            self._loop.join()

    def statistics(self) -> AsyncPoolStatistics:
        """Return what the pool has done and holds."""
        return self._loop.statistics()

    def _end_now(self) -> None:
        self._finalizer.detach()
        self._loop.kill()
