"""`InterpreterPool`: the standard executor over sub-interpreters, with our face, payloads and end."""

from __future__ import annotations

import concurrent.futures.thread  # noqa: F401 - before `go_first`
import contextlib
import importlib
import os
import re
import threading
from concurrent.futures import BrokenExecutor, InvalidStateError
from typing import TYPE_CHECKING, Any, TypeVar

from whichever import _core
from whichever.errors import EngineUnavailableError, PoolBrokenError
from whichever.executors._boot import search_path
from whichever.executors._cores_left import cores_left
from whichever.executors._exit import Ending, await_event, broken_by, go_first, refuse_task
from whichever.executors._face import PoolFace, check_initializer, check_workers
from whichever.executors._future import Future
from whichever.executors._imports import running_modules
from whichever.executors._interpreter_map import Batches
from whichever.executors._interpreters import InterpretersEngine
from whichever.executors._mapping import results_of
from whichever.executors._remote import cargo, guest
from whichever.executors._remote.contexts import dump_context

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent import futures

    from whichever.executors._face import MapPlan, Rules

T = TypeVar("T")

_REFUSED = re.compile(r"sub-?interpreter|more than once per process")
"""What extension modules say that do not load a second time (PyO3's, numpy, those of one phase)."""
_KILL_SECONDS = 0.15  # for Python code to notice that it was interrupted; a native call cannot be


class InterpreterPool(PoolFace):
    """Runs tasks in sub-interpreters: threads of this process with a GIL each (CPython 3.14 and later).

    Over the standard `InterpreterPoolExecutor`. Functions, arguments and results are pickled, as for processes: lambdas
    and closures work, what does not pickle fails its own task. Extension modules that do not load in a
    sub-interpreter, numpy and all that is built with PyO3 among them, fail the task that imports them with an
    `EngineUnavailableError`: use a `ProcessPool` for these.

    A task that runs cannot be cancelled: ``future.cancel()`` is False then, as the standard executors have it. Ctrl-C
    interrupts Python code, but a native call that takes long is waited for when the program ends.

    Args:
        max_workers: Most interpreters at once; None for one a usable core, inside a worker of another pool one a core
            of its share. They start when tasks need them, in 20 ms or so each.
        thread_name_prefix: What their threads are called, with a number behind it.
        initializer: Called in each interpreter before its first task. When it raises, the pool is broken.
        initargs: Its arguments.

    Raises:
        EngineUnavailableError: This Python has no sub-interpreters.
        ValueError: `max_workers` is not above 0.
        TypeError: An argument is of the wrong type.
    """

    _engine = "interpreters"

    def __init__(
        self,
        max_workers: int | None = None,
        thread_name_prefix: str = "whichever",
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
    ) -> None:
        if reason := InterpretersEngine.unavailable():
            raise EngineUnavailableError(reason)
        super().__init__(cores_left() if max_workers is None else check_workers(max_workers))
        check_initializer(initializer)
        letter = None
        if initializer is not None:
            letter = _dump(initializer, tuple(initargs), {}, running_modules())
        self._staff = Staff(self._max_workers, thread_name_prefix, letter)
        self._finalizer = _core.Finalizer(self._staff.close)

    def _submit(self, rules: Rules, fn: Callable[..., T], args: Any, kwargs: Any) -> Future[T]:
        del rules  # a task cannot be stopped
        return self._staff.submit(fn, args, kwargs)

    def _results(self, plan: MapPlan[T]) -> Iterator[T]:
        self._staff.refuse()
        batches = Batches(self._staff, plan.fn, self._max_workers, plan.chunksize)
        return results_of(batches, plan, self._max_workers)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - as the standard one
        """Take no more tasks; the interpreters end when those handed in have.

        Args:
            wait: Whether to return only then. Ctrl-C while it waits interrupts what runs.
            cancel_futures: Whether to cancel tasks that have not started.
        """
        self._finalizer.detach()
        self._staff.close(cancel_futures=cancel_futures)
        if wait:
            self._staff.join()

    def _end_now(self) -> None:
        self._finalizer.detach()
        self._staff.kill()


class _InterpreterFuture(Future[T]):
    """The future of a task whose other future is the standard executor's."""

    def __init__(self) -> None:
        super().__init__()
        self._inner: futures.Future[tuple[int, bytes]] | None = None

    def cancel(self) -> bool:
        """Cancel the task if it has not started. False when it has."""
        inner = self._inner
        return inner.cancel() if inner is not None else self.cancelled()  # it comes back as `_land`

    def running(self) -> bool:
        """Say whether an interpreter runs the task."""
        inner = self._inner
        return inner is not None and inner.running() and not self.done()


class Staff(Ending):
    """The standard executor, and the pipe that interrupts what its interpreters run.

    In each interpreter a thread reads from the pipe. An interpreter cannot end before that thread has, so the pipe is
    closed as soon as nothing is left to do and nothing may come.
    """

    def __init__(self, workers: int, prefix: str, letter: bytes | None) -> None:
        self._pid = os.getpid()
        self._workers = workers
        self._lock = threading.Lock()  # of the next four
        self._open: set[Future[Any]] = set()
        self._closed = False
        self._failure: BaseException | None = None
        self._stop_read, self._stop = os.pipe()
        executor = importlib.import_module("concurrent.futures.interpreter").InterpreterPoolExecutor
        self._executor: futures.Executor = executor(
            workers, prefix, guest.prepare, (search_path(), self._stop_read, letter)
        )
        self._over = threading.Event()
        self.keep()

    def submit(self, fn: Callable[..., T], args: Any, kwargs: Any) -> Future[T]:
        """Take in a task.

        Raises:
            RuntimeError: The pool was shut down, or belongs to the process that this one was forked from.
            PoolBrokenError: The initializer raised.
        """
        self.refuse()
        future: _InterpreterFuture[T] = _InterpreterFuture()
        by_value = running_modules()
        try:
            letter, context = _dump(fn, args, kwargs, by_value), dump_context(by_value)
        except Exception as error:  # noqa: BLE001 - what an argument raises when pickled
            error.add_note(guest.PICKLED)
            Future.set_exception(future, error)
            return future
        with self._lock:
            self.refuse()
            try:
                inner = self._executor.submit(guest.run, letter, context)
            except BrokenExecutor as error:
                raise _broken(error) from error
            future._inner = inner  # noqa: SLF001 - its other half
            self._open.add(future)
        inner.add_done_callback(lambda inner: self._land(future, inner))
        return future

    def take_in(self, future: Future[Any]) -> None:
        """Count a task as open that is sent later.

        Raises:
            RuntimeError: As for `submit`.
        """
        with self._lock:
            self.refuse()
            self._open.add(future)

    def send(self, *arguments: Any) -> futures.Future[tuple[float, tuple[tuple[int, bytes], ...]]]:
        """Have an interpreter run a batch; see `guest.run_all`.

        Raises:
            PoolBrokenError: No interpreter could be made ready.
        """
        try:
            return self._executor.submit(guest.run_all, *arguments)
        except BrokenExecutor as error:
            raise _broken(error) from error

    def failed(self, error: BaseException) -> tuple[Any, BaseException]:
        """Return what tasks raise whose message failed."""
        return None, _broken(error) if isinstance(error, BrokenExecutor) else error

    def outcome(self, how: int, blob: bytes) -> tuple[Any, BaseException | None]:
        """Return a task's result, or what it raised."""
        return _loaded(how, blob)

    def refuse(self) -> None:
        """Refuse tasks if that is to be; see `submit`."""
        failure = None if self._failure is None else _broken(self._failure)
        refuse_task(self._pid, failure, closed=self._closed)

    def _land(self, future: _InterpreterFuture[Any], inner: futures.Future[tuple[int, bytes]]) -> None:
        """Settle a future, on whatever thread its task ended."""
        try:
            if inner.cancelled():
                if Future.cancel(future):
                    future.set_running_or_notify_cancel()
            else:
                self.settle(future, *_outcome(inner))
        finally:
            future._inner = None  # noqa: SLF001
            self.let_go((future,))

    def let_go(self, ended: Iterable[Future[Any]]) -> None:
        """Count tasks as open no more."""
        with self._lock:
            self._open.difference_update(ended)
            is_over = self._closed and not self._open
        if is_over:
            self._hang_up()

    def settle(self, future: Future[Any], value: Any, error: BaseException | None) -> None:
        """Give a future what came of its task."""
        if isinstance(error, PoolBrokenError):
            self._failure = error.__cause__
        with contextlib.suppress(InvalidStateError):  # the pool was ended meanwhile
            if error is None:
                future.set_result(value)
            else:
                future.set_exception(error)

    def close(self, *, cancel_futures: bool = False) -> None:
        """Take in nothing more; end when all is done."""
        if self._pid != os.getpid():
            return
        with self._lock:
            self._closed = True
            waiting = tuple(self._open) if cancel_futures else ()
        for future in waiting:
            future.cancel()
        with self._lock:
            ended = not self._open
        if ended:
            self._hang_up()

    def _hang_up(self) -> None:
        with self._lock:
            stop, self._stop = self._stop, -1
        if stop < 0:
            return
        os.close(stop)
        # This may be a worker's thread, which cannot wait for itself.
        threading.Thread(target=self._tidy, name="whichever-end", daemon=True).start()

    def _tidy(self) -> None:
        """Wait for the interpreters; before that, one that only starts would find another file at the pipe's number."""
        self._executor.shutdown(wait=True)
        os.close(self._stop_read)
        self.forget()
        self._over.set()

    def join(self) -> None:
        """Wait for the end of the interpreters.

        Raises:
            KeyboardInterrupt: Ctrl-C; what ran is interrupted.
        """
        if self._pid != os.getpid():
            return
        try:
            await_event(self._over)
        except KeyboardInterrupt:
            self.kill()
            raise

    def kill(self) -> None:
        """End now: what waits is dropped, what runs is interrupted and has a moment to notice."""
        self.close(cancel_futures=True)
        if self._pid != os.getpid():
            return
        with self._lock:
            if self._stop >= 0:
                os.write(self._stop, b"k" * self._workers)
            left = tuple(self._open)
        for future in left:
            self.settle(future, None, _ended())
        self._over.wait(_KILL_SECONDS)
        self.forget()

    def end_at_exit(self, *, interrupted: bool) -> None:
        """Await or interrupt what is left; see `Ending`."""
        if interrupted:
            self.kill()
        else:
            self.close()
            self.join()


def _dump(fn: Callable[..., Any], args: Any, kwargs: Any, by_value: tuple[str, ...]) -> bytes:
    call = (fn, args, kwargs, by_value) if by_value else (fn, args, kwargs)
    return cargo.dump_whole(call, by_value)


def _outcome(inner: futures.Future[tuple[int, bytes]]) -> tuple[Any, BaseException | None]:
    """Return a task's result, or what it raised."""
    error = inner.exception()
    if error is not None:
        return None, _broken(error) if isinstance(error, BrokenExecutor) else error
    return _loaded(*inner.result())


def _loaded(how: int, blob: bytes) -> tuple[Any, BaseException | None]:
    try:
        if how == guest.RETURNED:
            return cargo.load_result(blob), None
        raised = cargo.load_error(blob)
    except BaseException as unloadable:  # noqa: BLE001 - the value's own code runs here and may raise anything
        return None, unloadable
    if how == guest.BROKEN:
        return None, _broken(raised)
    return None, _refusal(raised) or raised


def _refusal(error: BaseException) -> EngineUnavailableError | None:
    """Return what to say of a module that does not load in a sub-interpreter, if it is that."""
    cause: BaseException | None = error
    while cause is not None and not (isinstance(cause, ImportError) and _REFUSED.search(str(cause))):
        cause = cause.__context__
    if cause is None:
        return None
    said = next(line.strip() for line in str(cause).splitlines() if _REFUSED.search(line))
    refusal = EngineUnavailableError(
        f"a module that the task imports does not load in a sub-interpreter: {said}; use a ProcessPool or a ThreadPool"
    )
    refusal.__cause__ = error
    return refusal


def _broken(error: BaseException) -> PoolBrokenError:
    return broken_by(
        error, "an interpreter of the pool could not be made ready; correct the cause, make a new pool"
    )


def _ended() -> PoolBrokenError:
    return PoolBrokenError("the pool was ended while the task had not")


go_first()  # at exit: interpreters must have let go before the standard executors' threads are joined
