"""Shared by all tests: one calibration for the whole run, kept out of the user's own cache folder."""

import os
import signal

import pytest
from program import SECONDS, Program


@pytest.fixture(scope="session", autouse=True)
def _cache_of_the_tests(tmp_path_factory):
    os.environ["WHICHEVER_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    del os.environ["WHICHEVER_CACHE"]


@pytest.fixture
def start(tmp_path):
    started = []

    def begin(text, **how):
        started.append(Program(tmp_path, text, **how))
        return started[-1]

    yield begin
    for program in started:
        for pid in program.group():
            os.kill(pid, signal.SIGKILL)
        program.process.communicate(timeout=SECONDS)
