"""The worker inside a sub-interpreter."""

from __future__ import annotations

import ctypes
import os
import threading
from typing import Any

from .worker import Worker


def main(config: dict[str, Any]) -> None:
    """Work until the input ends; stopped early by a byte on the ``stop`` descriptor."""
    watcher = threading.Thread(target=_watch, args=(config["stop"], threading.get_ident()))
    watcher.start()
    try:
        Worker(config["fd"]).serve(config["modules"])
    finally:
        watcher.join()  # it ends when the caller closes its end


def _watch(stop: int, thread: int) -> None:
    """Raise SystemExit in the task that runs when the caller gives it up: only threads inside here can."""
    if os.read(stop, 1):
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(SystemExit))
