"""The ground truth library: native calls of known length, with the GIL and without it, and pipes fed later."""

from __future__ import annotations

import ctypes
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ["cargo", "build", "--quiet", "--release", "-p", "whichever-truth", "--message-format=json"]


@dataclass(frozen=True)
class Truth:
    """The same calls twice.

    Attributes:
        held: Keeps the GIL during its calls.
        released: Gives the GIL up during its calls.
    """

    held: ctypes.PyDLL
    released: ctypes.CDLL


def load_truth() -> Truth:
    """Build the library and load it both ways."""
    path = _build()
    return Truth(held=_declared(ctypes.PyDLL(path)), released=_declared(ctypes.CDLL(path)))


def _build() -> str:
    lines = subprocess.run(BUILD, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    for message in map(json.loads, lines):
        if message.get("target", {}).get("name") == "whichever_truth" and message.get("filenames"):
            return str(message["filenames"][0])
    msg = "cargo built no library"
    raise RuntimeError(msg)


def _declared(library):
    library.truth_spin.argtypes = library.truth_sleep.argtypes = [ctypes.c_uint64]
    library.truth_read.argtypes = [ctypes.c_int]
    library.truth_ended_ns.argtypes = []
    library.truth_feed_after.argtypes = [ctypes.c_int, ctypes.c_uint64]
    for name in ("truth_spin", "truth_sleep", "truth_read", "truth_ended_ns"):
        getattr(library, name).restype = ctypes.c_uint64
    library.truth_feed_after.restype = None
    return library
