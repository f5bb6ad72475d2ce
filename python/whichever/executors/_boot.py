"""What a fresh interpreter is told at its start: where modules are, the code to begin with, its share of the cores."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from whichever.executors._remote.sharers import inner_limits

_INNER_THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
_INTERPRETER = """\
import json
config = json.loads(config)
import sys
sys.path[:] = config["path"]
from importlib.util import module_from_spec, spec_from_file_location
folder = config["folder"]
start = folder + "/__init__.py"
spec = spec_from_file_location("_whichever_remote", start, submodule_search_locations=[folder])
sys.modules[spec.name] = module_from_spec(spec)
spec.loader.exec_module(sys.modules[spec.name])
from _whichever_remote.interpreter import main
main(config)
"""


def search_path() -> list[str]:
    """Return ``sys.path`` as text: what else people put there would not survive the journey."""
    return [entry for entry in sys.path if isinstance(entry, str)]


def configuration(**more: object) -> dict[str, Any]:
    """Return what the far side needs to find its own code and the caller's modules."""
    folder = str(Path(__file__).parent / "_remote")
    return {"path": search_path(), "folder": folder, "argv": [str(word) for word in sys.argv], **more}


def thread_limits(share: int) -> dict[str, str]:
    """Return environment variables that hold native libraries to `share` threads; what the user has set stays.

    Without them every worker's BLAS starts as many threads as there are cores, and they fight over these. Inside a
    worker the environment holds what was set for that worker itself, which gives way.
    """
    return {
        name: str(share)
        for name in _INNER_THREADS
        if name not in os.environ or os.environ[name] == inner_limits.get(name)
    }


def interpreter_code() -> str:
    """Return the code that a sub-interpreter runs; its ``__main__`` must hold the configuration's JSON."""
    return _INTERPRETER
