"""How far ledgers are from the truth: tasks made of native calls that know how long they held, ran, slept, waited.

Python between the calls holds the GIL, so what a task truly held is its exact CPU time without the time that was
released by construction. Errors are points of wall time.
"""

from __future__ import annotations

import contextlib
import os
import random
import select
import socket
import statistics
import threading
import time
from typing import TYPE_CHECKING, Any

from _result import quantile, write_result
from _truth import Truth, load_truth

from whichever.meter import Meter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from whichever._types import Ledger

TRIALS = 40
TASK_MS = 400
MS = 1_000_000
NS = 1e9
KIND_MS = 300
SEED = 2


def metered(task: Callable[[], Any]) -> Ledger:
    with Meter() as meter:
        meter.call(task)
    return meter.ledger()


def total(ledger: Ledger) -> float:
    return ledger.held + ledger.released + ledger.waiting + ledger.queued + sum(ledger.blocked.values())


def mixed_trial(truth: Truth, chance: random.Random) -> dict[str, float]:
    """Run one task of held, released and sleeping stretches in random shares and order."""
    shares = [chance.random() for _ in range(3)]
    calls = [truth.held.truth_spin, truth.released.truth_spin, truth.released.truth_sleep]
    known = [0, 0, 0]
    plan = []
    left = TASK_MS * MS
    while left > 0:
        length = int(min(left, chance.choice((0.2, 1, 5, 20)) * MS * (0.5 + chance.random())))
        plan.append((chance.choices(range(3), shares)[0], length))
        left -= length

    def task() -> None:
        for kind, length in plan:
            known[kind] += calls[kind](length)

    ledger = metered(task)
    held = ledger.cpu - known[1] / NS
    asleep, delay = known[2] / NS - ledger.blocked.get("sleep", 0.0), ledger.queued
    return {
        "held": abs(ledger.held - held) / ledger.wall,
        "released": abs(ledger.released - known[1] / NS) / ledger.wall,
        # The sleep's own clock runs on while the thread queues for a core; the ledger tells the two apart.
        "asleep": max(-asleep, asleep - delay, 0.0) / ledger.wall,
        "waiting": ledger.waiting / ledger.wall,
        "sum": abs(total(ledger) / ledger.wall - 1),
        "queued": ledger.queue_share,
        "rate": ledger.rate_hz,
    }


@contextlib.contextmanager
def holder(truth: Truth, hold_ns: int) -> Iterator[None]:
    """Hold the GIL in another thread, giving it up for a moment every `hold_ns`."""
    stop = threading.Event()

    def hold() -> None:
        while not stop.is_set():
            truth.held.truth_spin(hold_ns)

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def waiting_trial(truth: Truth, chance: random.Random) -> dict[str, float]:
    """Run one task that comes back for the GIL again and again while another thread holds it."""
    known = [0]
    sleep_ns = int(chance.choice((1, 3, 10)) * MS)

    def task() -> None:
        end = time.monotonic() + TASK_MS / 1000
        while time.monotonic() < end:
            truth.released.truth_sleep(sleep_ns)
            known[0] += time.monotonic_ns() - truth.held.truth_ended_ns()

    with holder(truth, int(chance.choice((1, 8, 25)) * MS)):
        ledger = metered(task)
    return {
        "waiting": abs(ledger.waiting - known[0] / NS) / ledger.wall,
        "share": known[0] / NS / ledger.wall,
        "queued": ledger.queue_share,
    }


def kinds(truth: Truth) -> dict[str, float]:
    """Give the share of blocked time that was named right, for each kind."""
    here, there = socket.socketpair()
    pipe, other = os.pipe(), os.pipe()
    master, terminal = os.openpty()
    lock = threading.Lock()
    feed = truth.held.truth_feed_after

    def locked() -> None:
        lock.acquire()
        timer = threading.Timer(KIND_MS / 1000, lock.release)
        timer.start()
        lock.acquire()
        lock.release()

    def read(write_to: int, read_from: int) -> None:
        feed(write_to, KIND_MS * MS)
        truth.released.truth_read(read_from)

    def polled() -> None:
        feed(pipe[1], KIND_MS * MS)
        select.select([pipe[0], other[0]], [], [])
        os.read(pipe[0], 1)

    def child() -> None:
        os.waitpid(os.posix_spawn("/bin/sleep", ["sleep", str(KIND_MS / 1000)], {}), 0)

    tasks = {
        "network": lambda: read(there.fileno(), here.fileno()),
        "pipe": lambda: read(pipe[1], pipe[0]),
        "terminal": lambda: read(terminal, master),
        "lock": locked,
        "sleep": lambda: truth.released.truth_sleep(KIND_MS * MS),
        "poll": polled,
        "child": child,
    }
    found = {}
    for name, task in tasks.items():
        ledger = metered(task)
        found[name] = ledger.blocked.get(name, 0.0) / sum(ledger.blocked.values())
    here.close()
    there.close()
    for descriptor in (*pipe, *other, master, terminal):
        os.close(descriptor)
    return found


def releases(truth: Truth) -> dict[str, float]:
    """Give releases counted over releases made, for release and hold of this many microseconds each."""
    found = {}
    for microseconds in (1, 5, 20, 100):

        def task(length: int = microseconds * 1000) -> None:
            for _ in range(200_000_000 // (2 * length + 2_000)):
                truth.released.truth_spin(length)
                truth.held.truth_spin(length)

        made = 200_000_000 // (2 * microseconds * 1000 + 2_000)
        figures = [metered(task).releases / made for _ in range(3)]
        found[f"{microseconds} us"] = statistics.median(figures)
    return found


def row(what: str, figure: float, target: str, unit: str = "points") -> dict[str, Any]:
    return {"what": what, "figure": round(figure, 3), "unit": unit, "target": target}


def main() -> None:
    truth, chance = load_truth(), random.Random(SEED)
    mixed = [mixed_trial(truth, chance) for _ in range(TRIALS)]
    waited = [waiting_trial(truth, chance) for _ in range(TRIALS // 2)]
    named = kinds(truth)
    counted = releases(truth)
    points = {name: [100 * trial[name] for trial in mixed] for name in mixed[0]}
    wait_points = [100 * trial["waiting"] for trial in waited]
    rows = [
        row("held, mean error", statistics.mean(points["held"]), "-"),
        row("held, 95th percentile", quantile(points["held"], 0.95), "2"),
        row("held, largest", max(points["held"]), "-"),
        row("released, 95th percentile", quantile(points["released"], 0.95), "-"),
        row("asleep, 95th percentile", quantile(points["asleep"], 0.95), "-"),
        row("waiting beside a holder, mean error", statistics.mean(wait_points), "1.5"),
        row("waiting beside a holder, 95th percentile", quantile(wait_points, 0.95), "-"),
        row("waiting where there was none, mean", statistics.mean(points["waiting"]), "-"),
        row("parts add up to wall time, largest error", max(points["sum"]), "1"),
        row("blocked kinds named right, mean", 100 * statistics.mean(named.values()), "95", "per cent"),
        *(row(f"kind {name} named right", 100 * share, "95", "per cent") for name, share in named.items()),
        *(row(f"releases counted, one per {name}", share, "1", "ratio") for name, share in counted.items()),
        row("samples per second, median", statistics.median(points["rate"]) / 100, "1000", "Hz"),
        row("run-queue delay while measured, median", statistics.median(points["queued"]), "under 10"),
    ]
    for line in rows:
        print(f"{line['what']:45} {line['figure']:10.3f} {line['unit']:9} target {line['target']}")
    print(write_result("ledger_accuracy", rows, repeats=TRIALS))


if __name__ == "__main__":
    main()
