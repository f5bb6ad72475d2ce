"""Waiting for a condition, with a bound."""

import time

SECONDS = 15


def until(condition, seconds=SECONDS):
    """Say whether the condition comes true within the bound."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.002)
    return True
