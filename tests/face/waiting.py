"""Waiting for a condition, with a bound."""

import time


def eventually(condition, seconds=10.0):
    """Say whether `condition` comes true within the bound."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True
