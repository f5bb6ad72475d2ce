"""The public question: checks what it is asked, and answers where an event loop allows it."""

from __future__ import annotations

import asyncio
import contextvars
import math
import threading
from typing import TYPE_CHECKING, Any

from whichever._types import ENGINE_NAMES, EngineName
from whichever.advisor._asking import Asking
from whichever.advisor._feed import Feed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from whichever.advisor._verdict import Verdict


def which(  # noqa: PLR0913 - the public call: all but the first two are options by name
    fn: Callable[[Any], Any],
    items: Iterable[Any],
    *,
    count: int | None = None,
    engines: Sequence[EngineName] | None = None,
    workers: int | None = None,
    verify: bool = False,
    budget: float = 1.0,
    progress: Callable[[str], None] | None = None,
) -> Verdict:
    """Measure which engine runs ``fn(item) for item in items`` fastest, by how much, and why.

    A few items are run in this thread under the meter; engines too close for the model alone get a short real
    trial on further items. Results are kept in ``verdict.samples``: no item runs twice (but see `verify`).

    Args:
        fn: A function of one argument, or a coroutine function.
        items: Its arguments. From a sequence evenly spread ones are sampled; from any other iterable the first
            ones, and the rest stays in it.
        count: How many items there are, where the iterable has no length; else 1000 are assumed.
        engines: Engines to choose from; by default all that exist here.
        workers: Consider only this number of workers.
        verify: Afterwards run *all* items again on every engine that is not excluded, and choose by that.
            Items then run several times.
        budget: Seconds for sampling and trials, or the time of five items where that is longer.
        progress: Called with a short line about what is being done now.

    Returns:
        The verdict: ``print`` it, or read its ``engine``, ``workers``, ``speedup``, ``ledger``, ``forecasts``.

    Raises:
        NoItemsError: The iterable was empty.
        TaskError: The function raised on every item tried; the first exception is its cause.
        ValueError: An unknown engine, or a count, budget or number of workers out of range.
    """
    _check(fn, engines, workers, budget)
    feed = Feed(items, count)
    question = Asking(fn, feed, engines=engines, workers=workers, budget=budget, progress=progress)
    return _in_free_thread(lambda: question.answered(verify_all=verify), apart=question.case.coroutine)


def _check(fn: object, engines: Sequence[EngineName] | None, workers: int | None, budget: float) -> None:
    if not callable(fn):
        msg = f"fn must be callable, not {type(fn).__name__}: which(fn, items)"
        raise TypeError(msg)
    unknown = [name for name in engines or () if name not in ENGINE_NAMES]
    if unknown:
        msg = f"unknown engine {unknown[0]!r}: choose from {', '.join(ENGINE_NAMES)}"
        raise ValueError(msg)
    if workers is not None and workers < 1:
        msg = f"workers must be at least 1, not {workers}"
        raise ValueError(msg)
    if not (budget > 0 and math.isfinite(budget)):
        msg = f"budget must be a positive number of seconds, not {budget}"
        raise ValueError(msg)


def _in_free_thread(answer: Callable[[], Verdict], *, apart: bool) -> Verdict:
    """Call `answer` here, or in a thread of its own where an event loop already runs in this one."""
    if not (apart and _loop_runs_here()):
        return answer()
    given: list[Verdict] = []
    raised: list[BaseException] = []
    context = contextvars.copy_context()

    def call() -> None:
        try:
            given.append(context.run(answer))
        except BaseException as error:  # noqa: BLE001 - handed to the caller below
            raised.append(error)

    thread = threading.Thread(target=call, name="whichever-which", daemon=True)
    thread.start()
    thread.join()
    if raised:
        raise raised[0]
    return given[0]


def _loop_runs_here() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
