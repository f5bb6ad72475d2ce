"""Starts and stops our servers, each a process of its own, so that it shares neither GIL nor event loop.

Guarantees: a server listens on 127.0.0.1 only, at ports of the system's choice; it is gone when the context
ends, and also when the process that started it dies, because it watches its standard input.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROOT = Path(__file__).resolve().parents[2]
_START_SECONDS = 60.0
_STOP_SECONDS = 20.0


@contextmanager
def running(program: str) -> Iterator[list[str]]:
    """Run ``workloads.servers.PROGRAM`` and yield the words it prints once it is ready.

    Raises:
        RuntimeError: It ended, or said nothing, before it was ready; its own message is on standard error.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", f"workloads.servers.{program}"],
        cwd=_ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for the caller; it stops the server in its own time
    )
    try:
        yield _ready_words(process, program)
    finally:
        _stop(process)


def _ready_words(process: subprocess.Popen[bytes], program: str) -> list[str]:
    assert process.stdout is not None
    readable, _, _ = select.select([process.stdout], [], [], _START_SECONDS)
    words = process.stdout.readline().decode().split() if readable else []
    if not words:
        msg = f"the {program} server did not start"
        raise RuntimeError(msg)
    return words


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


def announce(*words: object) -> None:
    """Tell the starter, from inside a server, that it is ready."""
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def wait_for_starter() -> None:
    """Return when the starter has closed our standard input or is dead."""
    while os.read(0, 1024):
        pass
