"""How a fresh interpreter, a process or a sub-interpreter, is brought to run the far side of an engine."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from whichever._core import usable_cores

_INNER_THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
_LOAD = """\
import sys
sys.path[:] = config["path"]
from importlib.util import module_from_spec, spec_from_file_location
folder = config["folder"]
start = folder + "/__init__.py"
spec = spec_from_file_location("_whichever_remote", start, submodule_search_locations=[folder])
sys.modules[spec.name] = module_from_spec(spec)
spec.loader.exec_module(sys.modules[spec.name])
"""
_PROCESS = f"""\
import json
with open(0, closefd=False) as file:
    config = json.load(file)
{_LOAD}
from _whichever_remote.template import main
main(config)
"""
_INTERPRETER = f"""\
import json
config = json.loads(config)
{_LOAD}
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


def inner_thread_limits(workers: int) -> dict[str, str]:
    """Return environment variables that keep native libraries of each worker to its share of the cores.

    Without them every worker's BLAS starts as many threads as there are cores, and they fight over these. What the
    user has set stays.
    """
    return thread_limits(max(int(usable_cores()["cores"]) // workers, 1))


def thread_limits(share: int) -> dict[str, str]:
    """Return the variables that hold native libraries to `share` threads; not those that the user has set."""
    return {name: str(share) for name in _INNER_THREADS if name not in os.environ}


def start_template(modules: tuple[str, ...], workers: int) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Start the template process of `workers` workers; return it and the socket that it obeys."""
    ours, theirs = socket.socketpair()
    config = configuration(control=theirs.fileno(), parent=os.getpid(), modules=[*modules], late=[])
    # Interpreter switches (-W, -X, -O ...) in the standard library's own rendering, like multiprocessing's.
    switches: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # noqa: SLF001
    command = [sys.executable, *switches, "-c", _PROCESS]
    # Ctrl-C goes to the whole process group: hold it back until the template has its handler.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        with tempfile.TemporaryFile() as file:  # a command line has a limit, sys.argv may be close to it
            file.write(json.dumps(config).encode())
            file.seek(0)
            process = subprocess.Popen(  # noqa: S603 - our own interpreter and program
                command,
                stdin=file,
                pass_fds=[theirs.fileno()],
                env=os.environ | inner_thread_limits(workers),
            )
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    return process, ours


def interpreter_code() -> str:
    """Return the code that a sub-interpreter runs; its ``__main__`` must hold the configuration's JSON."""
    return _INTERPRETER
