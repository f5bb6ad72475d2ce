"""The values that cross rooms: frozen, typed, and saved as JSON under the names they have here.

Seconds everywhere, as floats, unless a name says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

EngineName: TypeAlias = Literal["serial", "threads", "async", "interpreters", "processes"]
BlockedKind: TypeAlias = Literal[
    "network", "file", "pipe", "lock", "sleep", "poll", "child", "terminal", "unknown"
]

ENGINE_NAMES: tuple[EngineName, ...] = ("serial", "threads", "async", "interpreters", "processes")
"""Every engine, the simplest first: ties within 5 % go to the earlier one."""

COPYING: tuple[EngineName, ...] = ("interpreters", "processes")
"""Engines whose workers have copies of their own of everything."""

BLOCKED_KINDS: tuple[BlockedKind, ...] = (
    "network", "file", "pipe", "lock", "sleep", "poll", "child", "terminal", "unknown",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """Where the wall time of one task went: means per task, in seconds.

    ``held + released + waiting + queued + sum(blocked.values())`` is ``wall``.

    Attributes:
        wall: Wall seconds per task, from exact clocks.
        held: Holding the GIL. Always 0 on a free-threaded build.
        released: On a core without the GIL (native code; on a free-threaded build, Python too).
        waiting: Waiting for the GIL.
        queued: Runnable while all cores were taken.
        blocked: Off-CPU in a call, by what the call waits for; kinds that did not occur are absent.
        standard_error: One standard error, in seconds, of ``held``, ``released``, ``waiting``, ``queued`` and
            of each blocked kind under its own name.
        gil: Whether the interpreter has a GIL.
        tasks: How many tasks were metered.
        samples: How often the sampler saw the thread inside a task.
        rate_hz: Achieved sampling rate, per second.
        held_off_cpu: Of ``held``: off-CPU all the same, in a call that keeps the GIL.
        cpu: CPU seconds of the metered thread, exact.
        child_cpu: CPU seconds of child processes that ended during the task.
        inner_cpu: CPU seconds of threads that native libraries (BLAS, OpenMP) or the task itself ran
            inside it.
        foreign_cpu: CPU seconds of threads that ran before and are none of the task's business.
        releases: How often a task gave the GIL up.
        minor_faults: Minor page faults per task.
        voluntary_switches: Voluntary context switches per task.
        first: Wall seconds of the first task, which may have paid for imports.
        spread: Standard deviation of the tasks' wall seconds.
        longest: Wall seconds of the longest task.
        sampler_load: CPU seconds of the sampler per second of wall time.
        queue_share: Run-queue delay as a share of wall time; above 0.10 the machine is too busy to tell.
        unknown: What this platform or build cannot tell, in words.
        payload_in_bytes: Pickled size of a task's arguments; None when they do not pickle.
        payload_out_bytes: Pickled size of a task's result; None when it does not pickle.
        pickle_in: Seconds to pickle the arguments. unpickle_in: to load them again.
        pickle_out: Seconds to pickle the result. unpickle_out: to load it again.
    """

    wall: float
    held: float
    released: float
    waiting: float
    queued: float
    blocked: Mapping[BlockedKind, float]
    standard_error: Mapping[str, float]
    gil: bool
    tasks: int
    samples: int
    rate_hz: float
    held_off_cpu: float = 0.0
    cpu: float = 0.0
    child_cpu: float = 0.0
    inner_cpu: float = 0.0
    foreign_cpu: float = 0.0
    releases: float = 0.0
    minor_faults: float = 0.0
    voluntary_switches: float = 0.0
    first: float = 0.0
    spread: float = 0.0
    longest: float = 0.0
    sampler_load: float = 0.0
    queue_share: float = 0.0
    unknown: tuple[str, ...] = ()
    payload_in_bytes: int | None = None
    payload_out_bytes: int | None = None
    pickle_in: float = 0.0
    unpickle_in: float = 0.0
    pickle_out: float = 0.0
    unpickle_out: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What one engine with one number of workers is expected to take for all items.

    Attributes:
        engine: The engine's name.
        workers: Threads, interpreters or processes; for ``async``, tasks in flight at once.
        seconds: Expected wall seconds for all items, start-up included.
        low: Lower end of the 80 % interval, in seconds.
        high: Upper end of the 80 % interval, in seconds.
        speedup: Serial seconds over these seconds; of real runs on both sides where both were measured.
        chunksize: Tasks per message, for engines that send messages.
        limit: What stops it from being faster: gil, cores, payload, wait, overhead, child, tail or nothing.
        measured: Wall seconds that a real run of all items took; None unless verified.
        trial: Wall seconds per task seen in a short real trial; None when the model alone decided.
    """

    engine: EngineName
    workers: int
    seconds: float
    low: float
    high: float
    speedup: float
    limit: str
    chunksize: int = 1
    measured: float | None = None
    trial: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineSpan:
    """One stretch of time in which one thread was in one state, for the report's timeline.

    Attributes:
        start: Seconds since metering began.
        seconds: Length.
        thread: Name of the thread.
        state: held, released, waiting, queued, or blocked:KIND.
    """

    start: float
    seconds: float
    thread: str
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A sampled task that raised.

    Attributes:
        index: Position of its item, counted from 0.
        item: The item.
        error: The exception.
    """

    index: int
    item: Any
    error: BaseException


@dataclass(frozen=True, kw_only=True)
class VerdictData:
    """The plain data of a verdict; ``whichever.Verdict`` adds the table, the report and the saving.

    Attributes:
        name: The function's qualified name.
        engine: The engine to use.
        workers: How many workers to give it.
        speedup: Expected serial time over expected time with this engine (measured, when verified).
        ledger: Where the sampled tasks' time went.
        forecasts: One for each engine and worker count considered, the chosen one first.
        samples: The (item, result) pairs of the items that were run; never lost, never run again.
        positions: For each of `samples` its item's position in the iterable, counted from 0.
        failures: The sampled items whose task raised.
        excluded: Engine name to the reason, in words, why it would change what the program means.
        reasons: The argument, in sentences, the most important first.
        advice: What to change for more, in sentences.
        tasks: The number of tasks that the forecasts speak of.
        verified: Whether every engine was really run.
        timeline: Who held the GIL during the samples.
        machine: Facts of machine and interpreter that the verdict belongs to.
    """

    name: str
    engine: EngineName
    workers: int
    speedup: float
    ledger: Ledger
    forecasts: tuple[Forecast, ...]
    samples: tuple[tuple[Any, Any], ...] = field(repr=False)
    positions: tuple[int, ...] = field(default=(), repr=False)
    failures: tuple[Failure, ...] = ()
    excluded: Mapping[str, str] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()
    tasks: int = 0
    verified: bool = False
    timeline: tuple[TimelineSpan, ...] = field(default=(), repr=False)
    machine: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PoolStatistics:
    """What a pool has done since it was made, and what it holds now.

    Attributes:
        submitted: Tasks taken in.
        returned: Tasks that returned.
        raised: Tasks that raised, or whose arguments or result could not be carried.
        cancelled: Tasks given up before they started, and those stopped by ``Future.cancel``.
        timed_out: Tasks stopped because their time was over.
        lost: Tasks lost with their worker.
        retried: Times a task was run again because its worker had died.
        moved: Times a task was taken back from a busy worker for another one.
        workers_started: Workers started.
        workers_died: Workers that ended without having been asked to.
        workers_recycled: Workers replaced because they had grown past ``max_memory_bytes``.
        waiting: Tasks that wait for a worker now.
        under_way: Tasks that workers hold now.
        workers: Workers that are ready now.
        busy_seconds: Time that tasks ran, summed over workers.
        shared_bytes_used: Bytes of shared memory that this process's arguments take now, all its pools together.
        shared_bytes_warm: Bytes of shared memory kept for the next arguments.
    """

    submitted: int
    returned: int
    raised: int
    cancelled: int
    timed_out: int
    lost: int
    retried: int
    moved: int
    workers_started: int
    workers_died: int
    workers_recycled: int
    waiting: int
    under_way: int
    workers: int
    busy_seconds: float
    shared_bytes_used: int
    shared_bytes_warm: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueStatistics:
    """What a queue holds, and what was done with it since it was made or became shared, in all processes together.

    Attributes:
        maxsize: The most items; 0 or less for no limit.
        size: Items in it now.
        most: The most items that were in it at once.
        put: Items put.
        got: Items taken out.
        unfinished: Items put and not yet called finished by ``task_done``.
        get_waits: Times a thread slept because there was no item.
        put_waits: Times a thread slept because there was no place.
        shared_bytes: Bytes of shared memory that it holds for items; 0 while it is in one process.
        closed: Whether it takes nothing more.
        shared: Whether it is in shared memory, where each item is pickled.
    """

    maxsize: int
    size: int
    most: int
    put: int
    got: int
    unfinished: int
    get_waits: int
    put_waits: int
    shared_bytes: int
    closed: bool
    shared: bool


@dataclass(frozen=True, slots=True)
class AsyncPoolStatistics:
    """What an async pool has done since it was made, and what it holds now.

    Attributes:
        submitted: Tasks taken in.
        returned: Coroutines that returned.
        raised: Coroutines that raised.
        cancelled: Tasks cancelled, before they started or while they ran.
        timed_out: Coroutines cancelled because their time was over.
        waiting: Tasks that wait for a place now, cancelled ones among them.
        running: Coroutines that run now.
    """

    submitted: int
    returned: int
    raised: int
    cancelled: int
    timed_out: int
    waiting: int
    running: int


@dataclass(frozen=True, slots=True)
class ThreadPoolStatistics:
    """What a thread pool has done since it was made, and what it holds now.

    Attributes:
        submitted: Tasks taken in.
        returned: Tasks that returned.
        raised: Tasks that raised.
        cancelled: Tasks cancelled before they started.
        timed_out: Tasks given up because they ran past their time.
        waiting: Tasks that wait for a thread now, cancelled ones among them.
        running: Threads that run a task now.
        workers: Threads.
        workers_idle: Threads that sleep.
        workers_most: Threads that may work at a time. The automatic pool's find out how many are of use.
        workers_overdue: Threads that still run a task that was given up. Others have taken their places, where
            there were not too many of them.
        held_back: Times a thread left a waiting task alone while a task held the GIL: it could only have queued for
            that.
    """

    submitted: int
    returned: int
    raised: int
    cancelled: int
    timed_out: int
    waiting: int
    running: int
    workers: int
    workers_idle: int
    workers_most: int
    workers_overdue: int
    held_back: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowCallback:
    """Callbacks of one name that kept an event loop from going on, in one place and for one reason.

    Attributes:
        callback: Qualified name of what the loop called; of a task's step, that of its coroutine.
        place: The innermost function of the program itself that was running, with file and line; empty where the
            stack could not be read, as on a free-threaded Python.
        state: What the thread was seen doing most: ``held`` (held the GIL), ``released`` (ran without it),
            ``waiting`` (wanted the GIL, which others held), ``queued`` (could run, while all cores were taken),
            ``blocked`` (waited in a call), ``unknown``.
        kind: What the call waited for, if it was blocked.
        call: The system call, if it was blocked in one that is known by name.
        times: How often that was seen.
        seconds: How long it took, summed.
        longest_seconds: The longest of them.
    """

    callback: str
    place: str
    state: Literal["held", "released", "waiting", "queued", "blocked", "unknown"]
    kind: BlockedKind | None
    call: str | None
    times: int
    seconds: float
    longest_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopStatistics:
    """What an event loop has done since it was made, and what it has to do now.

    Time counts only while the loop runs.

    Attributes:
        running_seconds: How long it has run.
        busy_share: Share of that in which it did not sleep for want of work, from 0 to 1.
        recent_busy_share: The same, of the last 5 seconds that it ran.
        lag_seconds: Mean wait of what becomes ready at a random instant until the loop turns to it.
        longest_lag_seconds: The longest such wait, which is the longest turn.
        timer_lag_seconds: How late timers were when the loop turned to them, on average.
        longest_timer_lag_seconds: How late the latest was.
        ready: Callbacks that are ready to run now.
        most_ready: The most that were ready at the beginning of a turn.
        timers: Timers set now.
        timers_fired: Timers that have fallen due.
        turns: Turns begun.
        callbacks: Callbacks taken up.
        slow: Callbacks that took ``slow_callback_duration`` or more, the costliest first; the costliest 100 are kept.
            They are looked for now and then: one that is over just after that time may be missed.
    """

    running_seconds: float
    busy_share: float
    recent_busy_share: float
    lag_seconds: float
    longest_lag_seconds: float
    timer_lag_seconds: float
    longest_timer_lag_seconds: float
    ready: int
    most_ready: int
    timers: int
    timers_fired: int
    turns: int
    callbacks: int
    slow: tuple[SlowCallback, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoPoolStatistics:
    """What an auto pool has done since it was made, and what it holds now.

    Tasks that ran in the caller's own thread are in no engine's figures.

    Attributes:
        engines: The statistics of the pools that it has opened, by engine; of several of one engine, the latest.
        decisions: How often it has decided where tasks go.
        engine: The engine of the latest decision; None before the first.
    """

    engines: Mapping[EngineName, Any]
    decisions: int
    engine: EngineName | None
