"""Waiting for a condition, with a bound."""

from __future__ import annotations

import threading
import time

import pytest

BOUND_S = 30


@pytest.fixture
def until():
    """Return a function that waits until a condition holds, and fails when it does not in time."""

    def wait(condition):
        end = time.monotonic() + BOUND_S
        tick = threading.Event()
        while not condition():
            assert time.monotonic() < end, "it did not come true in time"
            tick.wait(0.002)

    return wait
