"""What a task waits beside a busy thread at a shorter switch interval is what the advice says."""

import re
import sys
import sysconfig
import threading
import time

import pytest

import whichever

RETURNS = 40  # of a task to the GIL
UNITS = {"µs": 1e-6, "ms": 1e-3, "s": 1.0}
pytestmark = [
    pytest.mark.skipif(
        bool(sysconfig.get_config_var("Py_GIL_DISABLED")), reason="there is no GIL to wait for"
    ),
    pytest.mark.skipif(sys.platform != "linux", reason="the probe reads /proc"),
]


def nap_often(_item=None):
    for _ in range(RETURNS):
        time.sleep(0.001)


@pytest.fixture
def holder():
    """A thread that runs Python all the time, and an interpreter with the usual switch interval."""
    usual, over = sys.getswitchinterval(), threading.Event()

    def hold():
        while not over.is_set():
            for _ in range(1000):
                pass

    thread = threading.Thread(target=hold)
    sys.setswitchinterval(0.005)
    thread.start()
    yield
    over.set()
    thread.join()
    sys.setswitchinterval(usual)


def waited(interval):
    """Return the seconds that a task takes beyond its naps at this interval, by the clock."""
    sys.setswitchinterval(interval)
    begun = time.perf_counter()
    nap_often()
    return time.perf_counter() - begun - RETURNS * 0.001


def test_the_wait_at_a_shorter_interval_is_forecast(holder):
    verdict = whichever.which(nap_often, range(4), engines=["serial"])
    (said,) = [sentence for sentence in verdict.advice if "setswitchinterval(0.0005)" in sentence]
    now, then = (
        float(number) * UNITS[unit]
        for number, unit in re.findall(r"(?:waits|wait about) ([\d.]+) (µs|ms|s)\b", said)
    )
    assert now > 0.5 * RETURNS * 0.005
    assert now / then == pytest.approx(10, rel=0.8)
    # Other programs on the same cores lengthen every wait: the least of several are nearest to what the GIL does.
    usual = min(waited(0.005) for _ in range(3))
    short = min(waited(0.0005) for _ in range(5))
    assert short < usual / 2


def test_nothing_is_said_without_a_holder():
    verdict = whichever.which(nap_often, range(4), engines=["serial"])
    assert not [sentence for sentence in verdict.advice if "setswitchinterval" in sentence]


def test_the_machine_shows_the_interval_that_is_set():
    usual = sys.getswitchinterval()
    sys.setswitchinterval(0.002)
    try:
        assert "switch interval 2 ms (sys.getswitchinterval())" in str(whichever.machine())
    finally:
        sys.setswitchinterval(usual)
