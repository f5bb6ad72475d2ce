"""Read a verdict's fields, and finish the work with the engine it names: no item is run a second time."""

from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor

import whichever


def collatz_peak(start: int) -> int:
    """Return the highest number on the way from `start` down to 1."""
    peak = start
    while start != 1:
        start = start // 2 if start % 2 == 0 else 3 * start + 1
        peak = max(peak, start)
    return peak


def peak_between(bounds: tuple[int, int]) -> int:
    """Return the highest peak of the starts from the first bound up to the second."""
    return max(map(collatz_peak, range(*bounds)))


POOLS: dict[str, type[Executor]] = {"threads": ThreadPoolExecutor, "processes": ProcessPoolExecutor}


def finish(verdict: whichever.Verdict, items: list[tuple[int, int]]) -> list[int]:
    """Run the items that were not sampled; return all results, the sampled ones first."""
    done = dict(verdict.samples)
    left = [item for item in items if item not in done]
    if verdict.engine not in POOLS:
        return [*done.values(), *map(peak_between, left)]
    with POOLS[verdict.engine](verdict.workers) as pool:
        return [*done.values(), *pool.map(peak_between, left)]


if __name__ == "__main__":
    items = [(low, low + 500) for low in range(1, 40_001, 500)]
    verdict = whichever.which(peak_between, items, engines=["serial", "threads", "processes"], budget=0.3)
    task = verdict.ledger
    print(f"a task takes {task.wall * 1000:.1f} ms, {task.held / task.wall:.0%} of it with the GIL held")
    for name, reason in verdict.excluded.items():
        print(f"not {name}: {reason}")
    print(f"{verdict.engine} x {verdict.workers}: {verdict.reasons[0]}")
    results = finish(verdict, items)
    print(
        f"{len(results)} results, {len(verdict.samples)} of them from the samples; the peak is {max(results)}"
    )
