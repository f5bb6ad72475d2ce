"""Verdicts as the advisor gives them, one for each case that people meet; all views are tested on them."""

import dataclasses

from whichever._types import Failure, Forecast, Ledger, TimelineSpan
from whichever.advisor._verdict import Verdict

MACHINE = {
    "python": "3.13.0",
    "gil": True,
    "usable_cores": 2,
    "switch_interval": 0.005,
    "starts": {"threads": 0.0002, "processes": 0.59},
    "engines": ("serial", "threads", "processes"),
    "container": None,
}


def _ledger(**changes):
    ledger = Ledger(
        wall=0.152,
        held=0.1494,
        released=0.0004,
        waiting=0.0014,
        queued=0.0008,
        blocked={},
        standard_error={"held": 0.0011, "released": 0.0001, "waiting": 0.0004, "queued": 0.0002},
        gil=True,
        tasks=5,
        samples=758,
        rate_hz=998.4,
        cpu=0.1498,
        longest=0.161,
        first=0.166,
        spread=0.006,
        sampler_load=0.021,
        payload_in_bytes=412,
        payload_out_bytes=8_400,
        pickle_in=3.1e-6,
        pickle_out=2.4e-5,
    )
    return dataclasses.replace(ledger, **changes)


def _forecast(engine, workers, seconds, speedup, limit, *, spread=0.06, **more):
    low, high = seconds * (1 - spread), seconds * (1 + 1.4 * spread)
    return Forecast(
        engine=engine,
        workers=workers,
        seconds=seconds,
        low=low,
        high=high,
        speedup=speedup,
        limit=limit,
        **more,
    )


def _timeline():
    """Five tasks of the main thread beside a logger that now and then wants the GIL."""
    spans = []
    for task in range(5):
        start = 0.17 * task
        pattern = [("held", 0.05), ("waiting", 0.004), ("held", 0.06), ("released", 0.01), ("held", 0.028)]
        for state, seconds in pattern:
            spans.append(TimelineSpan(start=start, seconds=seconds, thread="MainThread", state=state))
            start += seconds
        logger = [("blocked:lock", 0.05), ("held", 0.004), ("waiting", 0.02), ("blocked:file", 0.07)]
        start = 0.17 * task
        for state, seconds in logger:
            spans.append(TimelineSpan(start=start, seconds=seconds, thread="log-writer", state=state))
            start += seconds
    return tuple(spans)


def processes_win():
    """Pure Python over two cores, really run on every engine."""
    return Verdict(
        name="collatz.longest_chain",
        engine="processes",
        workers=2,
        speedup=1.87,
        ledger=_ledger(),
        forecasts=(
            _forecast("processes", 2, 16.24, 1.87, "cores", measured=15.96, trial=0.161),
            _forecast("processes", 1, 31.3, 0.97, "cores", measured=31.9),
            _forecast("serial", 1, 30.4, 1.0, "nothing", spread=0.02, measured=30.11),
            _forecast("threads", 1, 30.5, 0.997, "gil", spread=0.03, measured=30.4),
            _forecast("threads", 2, 31.0, 0.98, "gil", spread=0.04, measured=31.6),
        ),
        samples=tuple((n, n * n) for n in range(5)),
        excluded={"async": "not a coroutine function", "interpreters": "needs Python 3.14"},
        reasons=(
            "A task holds the GIL for 98 % of its time, so threads take turns and give nothing.",
            "Processes have a GIL each: two of them keep both usable cores busy.",
            "Arguments and results are small (412 B in, 8.4 kB out): sending them costs 0.05 % of a task.",
        ),
        advice=("More cores help: with 8 the forecast is 4.3 s.",),
        tasks=200,
        verified=True,
        timeline=_timeline(),
        machine=MACHINE,
    )


def serial_wins_over_payload():
    """Parts of a list of ten million ints: pickling a part costs more than its sum."""
    return Verdict(
        name="sum",
        engine="serial",
        workers=1,
        speedup=1.0,
        ledger=_ledger(
            wall=0.0214, held=0.0213, released=0.0, waiting=0.0, queued=0.0001, payload_in_bytes=24_300_000
        ),
        forecasts=(
            _forecast("serial", 1, 0.1712, 1.0, "nothing"),
            _forecast("threads", 2, 0.1733, 0.988, "gil"),
            _forecast("processes", 2, 1.556, 0.11, "payload"),
        ),
        samples=tuple((list(range(1_000_000)), 499_999_500_000) for _ in range(2)),
        excluded={"async": "not a coroutine function"},
        reasons=(
            "Pickling a part takes 64 ms, three times its sum: processes would be 9.1x slower.",
            "Adding Python ints holds the GIL, so threads give nothing.",
        ),
        advice=(
            "Keep the numbers in a shared array and send index ranges: the payload falls to a few bytes.",
        ),
        tasks=8,
        machine=MACHINE,
    )


def async_wins():
    """A hundred downloads by a coroutine function."""
    ledger = _ledger(
        wall=0.0512,
        held=0.0011,
        released=0.0001,
        waiting=0.0,
        queued=0.0,
        blocked={"network": 0.0488, "poll": 0.0012},
        standard_error={"network": 0.0003},
    )
    counts = ((4, 4.0), (8, 7.9), (16, 15.6), (32, 28.9), (64, 41.0), (100, 47.2))
    flights = [_forecast("async", n, 5.12 / gain, gain, "wait") for n, gain in counts]
    return Verdict(
        name="Crawler.fetch",
        engine="async",
        workers=100,
        speedup=47.2,
        ledger=ledger,
        forecasts=(
            *flights[::-1],
            _forecast("serial", 1, 5.12, 1.0, "wait"),
            *(_forecast("threads", n, 5.2 / n**0.9, n**0.9 * 0.985, "wait") for n in (1, 2, 4, 8, 16, 32)),
        ),
        samples=tuple((f"https://localhost/{n}", b"x" * 1000) for n in range(5)),
        excluded={"processes": "holds a socket that no other process can use"},
        reasons=("A task waits for the network for 95 % of its time, so a hundred can wait at once.",),
        tasks=100,
        machine=MACHINE,
    )


def some_tasks_raised():
    """Two of the sampled items were no good; the text tries to break out of page and terminal."""
    item = "<script>alert('item')</script>"
    return dataclasses.replace(
        processes_win(),
        name="<lambda>",
        failures=(
            Failure(
                index=1, item=item, error=ValueError("bad \x1b[31mred\x1b[0m [bold]text[/bold]\nsecond line")
            ),
            Failure(index=4, item="\udcff", error=KeyError()),
        ),
        reasons=("</style><img src=x onerror=alert(1)> & [/] \u202eback", "two"),
        excluded={"async": "<b>no</b>"},
        verified=False,
    )


def free_threaded():
    """A build without a GIL, where threads do what processes did."""
    return Verdict(
        name="collatz.longest_chain",
        engine="threads",
        workers=2,
        speedup=1.93,
        ledger=_ledger(
            held=0.0,
            released=0.1505,
            waiting=0.0,
            queued=0.0015,
            gil=False,
            unknown=("the GIL holder: no GIL",),
        ),
        forecasts=(
            _forecast("threads", 2, 15.7, 1.93, "cores"),
            _forecast("serial", 1, 30.4, 1.0, "nothing"),
        ),
        samples=((1, 1),),
        tasks=200,
        timeline=(TimelineSpan(start=0.0, seconds=0.15, thread="MainThread", state="released"),),
        machine=MACHINE | {"gil": False},
    )


def bare():
    """The least that a verdict can hold."""
    return Verdict(
        name="f",
        engine="serial",
        workers=1,
        speedup=1.0,
        ledger=_ledger(wall=2.1e-7, held=2.1e-7, released=0.0, waiting=0.0, queued=0.0, standard_error={}),
        forecasts=(),
        samples=(),
    )


EXAMPLES = {
    make.__name__: make
    for make in (processes_win, serial_wins_over_payload, async_wins, some_tasks_raised, free_threaded, bare)
}
