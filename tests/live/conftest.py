"""The ground truth: native calls of known length, with the GIL and without it, and pipes that are fed later."""

import importlib
import shutil
import sys
from pathlib import Path

import pytest

BENCHES = Path(__file__).resolve().parent.parent.parent / "benches"


@pytest.fixture(scope="session")
def truth():
    """`truth.held` keeps the GIL during its calls, `truth.released` does not."""
    if sys.platform != "linux":
        pytest.skip("the probe reads /proc")
    if shutil.which("cargo") is None:
        pytest.skip("no cargo to build the ground truth with")
    sys.path.insert(0, str(BENCHES))
    try:
        return importlib.import_module("_truth").load_truth()
    finally:
        sys.path.remove(str(BENCHES))
