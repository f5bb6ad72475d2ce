"""Count primes in worker processes: no guard, a progress bar, one task that hangs and one whose worker dies."""

import os
import time

import whichever


def primes_between(first, last):
    """Count the primes from `first` up to `last`, in pure Python."""
    return sum(
        all(number % divisor for divisor in range(2, int(number**0.5) + 1)) for number in range(first, last)
    )


step = 5_000
starts = range(2, 100_000, step)
with whichever.ProcessPool() as pool:
    counts = pool.map(primes_between, starts, (start + step for start in starts), progress=True)
    print(f"{sum(counts)} primes")

    hanging = pool.options(timeout=0.2).submit(time.sleep, 60)
    dying = pool.submit(os._exit, 1)
    for future in (hanging, dying):
        print(f"{type(future.exception()).__name__}: the pool goes on")
    print(f"{pool.submit(primes_between, 2, 100).result()} of them below 100")
