"""`SerialPool`: an executor without workers, for debugging."""

from __future__ import annotations

import _thread
import contextlib
import contextvars
import sys
import threading
import time
import weakref
from collections import deque
from concurrent import futures
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from whichever.errors import PoolBrokenError
from whichever.executors._coroutines import is_coroutine_function
from whichever.executors._face import PoolFace, PoolOptions, check_initializer, check_workers
from whichever.executors._future import Future
from whichever.executors._mapping import warn_unread

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator
    from typing import Self

    from whichever.executors._face import MapPlan, Rules

T = TypeVar("T")

_OTHERS = frozenset({
    "copy_context", "daemon", "inner_threads", "loop_factory", "max_memory_bytes", "max_tasks_per_child", "mp_context",
    "name", "retries", "thread_name_prefix", "timeout",
})  # fmt: skip
"""What constructors of other pools take and has no meaning here."""


class SerialPool(PoolFace):
    """Runs each task in the thread that hands it in, at once: put it in another pool's place to debug.

    Breakpoints, profilers, coverage and tracebacks see the caller's own stack. A task runs inside `submit`, whose
    future is done when it returns; a task of `map` when its result is asked for, as the built-in map has it, so that
    the first error is seen before anything else runs. Maps over collections that were not read to their end run the
    rest at `shutdown`. Coroutine functions are awaited, one call at a time, on a loop of the pool's own.

    Ctrl-C and a debugger's quit leave through `submit`, for the task's thread is the caller's; anything else that a
    task raises, SystemExit too, is its future's, as in other pools. Nothing is pickled and arguments are not copied:
    what works here may still fail to cross to a process.

    Args:
        max_workers: Has no effect: tasks run one after the other.
        initializer: Called before the first task. When it raises, the pool is broken.
        initargs: Its arguments.
        others: What other pools' constructors take (`timeout`, `retries`, `mp_context`, ...). Has no effect: a task
            that runs in the caller's thread cannot be stopped, nor should it be while it is looked at.

    Raises:
        TypeError: No pool has such an argument.
    """

    _engine = "serial"

    def __init__(
        self,
        max_workers: int | None = None,
        *,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        **others: Any,
    ) -> None:
        super().__init__(check_workers(1 if max_workers is None else max_workers))
        check_initializer(initializer)
        if unknown := sorted(others.keys() - _OTHERS):
            msg = f"no pool takes the argument {unknown[0]!r}"
            raise TypeError(msg)
        self._initializer, self._initargs = initializer, initargs
        self._start = threading.RLock()
        self._failure: BaseException | None = None
        self._closed = self._cancels = False
        self._maps: weakref.WeakSet[_Results[Any]] = weakref.WeakSet()
        self._runner: asyncio.Runner | None = None

    def _label(self, results: Iterator[Any]) -> str:
        del results
        return self._engine

    def _submit(self, rules: Rules, fn: Callable[..., T], args: Any, kwargs: Any) -> Future[T]:
        del rules  # nobody could carry them out
        self._refuse_closed()
        return self._run(fn, args, kwargs)

    def _results(self, plan: MapPlan[T]) -> Iterator[T]:
        with self._start:
            self._refuse_closed()
            results = _Results(self, plan)
            self._maps.add(results)
        return results

    def _run(self, fn: Callable[..., T], args: Any, kwargs: Any) -> Future[T]:
        """Run a task; its future is done.

        Raises:
            KeyboardInterrupt: Ctrl-C, or a debugger was left.
        """
        self._prepare()
        value, error = self._call(fn, args, kwargs)
        try:
            if error is not None and _is_callers(error):
                raise error
            future: Future[T] = Future()
            if error is None:
                future.set_result(value)
            else:
                future.set_exception(error)
            return future
        finally:
            # Below, the error's traceback holds the frame of the call, and that its callers'.
            del value, error
            future = None  # type: ignore[assignment]

    def _call(self, fn: Callable[..., Any], args: Any, kwargs: Any) -> tuple[Any, BaseException | None]:
        """Call the task. A frame without the future: an error's traceback holds it."""
        context = contextvars.copy_context()
        try:
            if is_coroutine_function(fn):
                return self._await(fn, args, kwargs, context), None
            return context.run(fn, *args, **kwargs), None
        except BaseException as error:  # noqa: BLE001 - a task may raise anything
            return None, error

    def _prepare(self) -> None:
        """Call the initializer, once.

        Raises:
            PoolBrokenError: It raised.
        """
        with self._start:
            if self._initializer is not None:
                _, error = self._call(self._initializer, self._initargs, {})
                if error is not None and _is_callers(error):
                    raise error
                self._initializer, self._failure = None, error
            if self._failure is not None:
                msg = "the pool's initializer raised; correct it and make a new pool"
                raise PoolBrokenError(msg) from self._failure

    def _await(self, fn: Callable[..., Any], args: Any, kwargs: Any, context: contextvars.Context) -> Any:
        import asyncio  # noqa: PLC0415 - 60 ms that only coroutine functions need

        if asyncio.events._get_running_loop() is not None:  # noqa: SLF001 - the public one raises
            msg = "a SerialPool cannot await a coroutine function in a thread whose event loop runs; await it there"
            raise RuntimeError(msg)
        self._runner = self._runner or asyncio.Runner()
        return self._runner.run(_awaited(fn, args, kwargs), context=context)

    def options(self, *, timeout: float | None = None, retries: int | None = None) -> PoolOptions:
        """Return this pool under other rules, which have no effect here.

        Args:
            timeout: Seconds that each task may run.
            retries: How often a task is run again whose worker died.
        """
        return PoolOptions(self, (timeout, retries or 0))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - as the standard one
        """Take no more tasks; run those of maps over collections that have not run.

        Args:
            wait: Has no effect: there is nobody who could run them later.
            cancel_futures: Whether to drop them instead.
        """
        del wait
        with self._start:
            self._closed = True
            self._cancels |= cancel_futures
            maps = tuple(self._maps)
        for results in maps:
            results.finish()
        runner, self._runner = self._runner, None
        if runner is not None:
            runner.close()

    def _end_now(self) -> None:
        self.shutdown(cancel_futures=True)

    def _refuse_closed(self) -> None:
        if self._closed:
            msg = "cannot schedule new futures after shutdown"
            raise RuntimeError(msg)


class _Results(Generic[T]):
    """The results of one `map`: a task runs when its result is asked for."""

    def __init__(self, pool: SerialPool, plan: MapPlan[T]) -> None:
        self._pool, self._plan = pool, plan
        self._is_read = True  # until there is something to read: see `__del__`
        # Of all below: the pool may be shut down in another thread, or by a task, while results are read.
        self._lock = threading.RLock()
        self._items: Iterator[tuple[Any, ...]] | None = zip(*plan.iterables, strict=False)
        self._done: deque[Future[T]] = deque()  # run before their results were asked for
        self._deadline = None if plan.timeout is None else time.monotonic() + plan.timeout
        self._is_read = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        self._is_read = True
        with self._lock:
            return self._give(self._done.popleft() if self._done else self._next())

    def _give(self, future: Future[T]) -> T:
        try:
            error = future.exception()
            if error is not None:
                self.close()
            if isinstance(error, StopIteration):  # raised here, it would end the results without a word
                msg = "a task raised StopIteration"
                raise RuntimeError(msg) from error  # noqa: TRY004 - what a generator makes of it
            result: T = future.result()
            return result
        finally:
            error = None
            del future  # an error's traceback holds this frame

    def _next(self) -> Future[T]:
        arguments = self._take()
        if arguments is None:
            raise StopIteration
        self._refuse_late()
        future = self._run(arguments)
        try:
            self._refuse_late()
            return future
        finally:
            del future

    def _take(self) -> tuple[Any, ...] | None:
        arguments = None if self._items is None else next(self._items, None)
        if arguments is None:
            self._items = None
        elif self._pool._cancels:  # noqa: SLF001 - a part of it
            self.close()
            raise futures.CancelledError
        return arguments

    def _run(self, arguments: tuple[Any, ...]) -> Future[T]:
        return self._pool._run(self._plan.fn, arguments, {})  # noqa: SLF001

    def _refuse_late(self) -> None:
        if self._deadline is not None and time.monotonic() > self._deadline:
            self.close()
            raise TimeoutError

    def finish(self) -> None:
        """Run now what other pools take in at once: the rest of collections."""
        with self._lock, contextlib.suppress(futures.CancelledError):  # dropped by another shutdown meanwhile
            while self._plan.eager and not self._pool._cancels and (arguments := self._take()) is not None:  # noqa: SLF001
                self._done.append(self._run(arguments))

    def close(self) -> None:
        """Give up what has not been taken."""
        self._is_read = True
        self._items = None
        self._done.clear()

    def __del__(self) -> None:
        if self._is_read:
            return
        try:
            self.finish()
        except KeyboardInterrupt:
            _thread.interrupt_main()  # what is raised here goes nowhere
        if self._items is not None and not self._pool._cancels:  # noqa: SLF001 - a part of it
            warn_unread()


async def _awaited(fn: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    return await fn(*args, **kwargs)


def _is_callers(error: BaseException) -> bool:
    """Say whether an error is a wish of the caller's to leave: Ctrl-C, or the quit of a debugger."""
    bdb = sys.modules.get("bdb")
    return isinstance(error, KeyboardInterrupt) or (bdb is not None and isinstance(error, bdb.BdbQuit))
