"""Shared by all tests: one calibration for the whole run, kept out of the user's own cache folder."""

import os

import pytest


@pytest.fixture(scope="session", autouse=True)
def _cache_of_the_tests(tmp_path_factory):
    os.environ["WHICHEVER_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    del os.environ["WHICHEVER_CACHE"]
