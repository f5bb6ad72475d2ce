"""The ground truth: native calls of known length, with the GIL and without it, and pipes that are fed later."""

import ctypes
import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
BUILD = ["cargo", "build", "--quiet", "--release", "-p", "whichever-truth", "--message-format=json"]


def build_truth():
    """Build the library and return its path."""
    lines = subprocess.run(BUILD, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    for message in map(json.loads, lines):
        if message.get("target", {}).get("name") == "whichever_truth" and message.get("filenames"):
            return message["filenames"][0]
    pytest.fail("cargo built no library")


def load(loader, path):
    library = loader(path)
    library.truth_spin.argtypes = library.truth_sleep.argtypes = [ctypes.c_uint64]
    library.truth_read.argtypes = [ctypes.c_int]
    library.truth_feed_after.argtypes = [ctypes.c_int, ctypes.c_uint64]
    for name in ("truth_spin", "truth_sleep", "truth_read", "truth_ended_ns"):
        getattr(library, name).restype = ctypes.c_uint64
    library.truth_feed_after.restype = None
    return library


@pytest.fixture(scope="session")
def truth():
    """`truth.held` keeps the GIL during its calls, `truth.released` does not."""
    if sys.platform != "linux":
        pytest.skip("the probe reads /proc")
    if shutil.which("cargo") is None:
        pytest.skip("no cargo to build the ground truth with")
    path = build_truth()
    return SimpleNamespace(held=load(ctypes.PyDLL, path), released=load(ctypes.CDLL, path))
