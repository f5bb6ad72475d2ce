"""A crew without the native core, and workers hired from it."""

import atexit

import fake_core
import pytest
from hand import Hand

from whichever.executors import _cores_left, _crew, _template


@pytest.fixture
def crew(monkeypatch):
    """A crew of its own, whose workers have fake_core for their native core."""
    for room in (_cores_left, _template):
        monkeypatch.setattr(room, "_core", fake_core)
    fresh = _crew.Crew()
    yield fresh
    fresh.close()
    atexit.unregister(fresh.close)


@pytest.fixture
def hire(crew):
    hands = []

    def one(**order):
        hands.append(Hand(crew, **order))
        return hands[-1]

    yield one
    for hand in hands:
        hand.close()
