"""The tools and benches that pools are held against, importable, with the stand-ins beside them."""

import importlib
import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HERE = str(Path(__file__).resolve().parent)


@pytest.fixture
def room(monkeypatch):
    """Import a module of tools/ or benches/ by its name; child processes find the stand-ins, too."""
    monkeypatch.setenv("PYTHONPATH", HERE)
    monkeypatch.syspath_prepend(HERE)

    def load(folder, name):
        monkeypatch.syspath_prepend(str(ROOT / folder))
        return importlib.import_module(name)

    return load


@pytest.fixture
def cpython_has_tests():
    """Skip where the interpreter was installed without its own tests, or has them in an older form."""
    try:
        found = importlib.util.find_spec("test.test_concurrent_futures.util")
    except ModuleNotFoundError:
        found = None
    if found is None:
        version = ".".join(map(str, sys.version_info[:2]))
        pytest.skip(f"this CPython {version} has no test.test_concurrent_futures package")


@pytest.fixture(scope="session")
def process_pool():
    """Return our class, or skip where this build has none."""
    whichever = importlib.import_module("whichever")
    if not hasattr(whichever, "ProcessPool"):
        pytest.skip("this build has no whichever.ProcessPool")
    return whichever.ProcessPool
