"""The caller's end of one template process: starting it, writing its orders, ending it.

What it answers is read by a native thread (`_core.adopt_template`); nothing here waits for an answer.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from whichever import _core
from whichever.executors._boot import search_path
from whichever.executors._remote.configuring import file_in_memory
from whichever.executors._remote.foreman import PACKET

_SHORTEST_PAUSE_SECONDS = 0.0005
_LONGEST_PAUSE_SECONDS = 0.02
"""Between two looks whether the process has ended."""
_PROGRAM = """\
# the template of whichever's worker processes
import json
with open(0, closefd=False) as file:
    config = json.load(file)
exec(config["program"])
"""
_LOAD = """\
import sys
sys.path[:] = config["path"]
from importlib.util import module_from_spec, spec_from_file_location
def load(name, file, folders=None):
    spec = spec_from_file_location(name, file, submodule_search_locations=folders)
    sys.modules[name] = module_from_spec(spec)
    spec.loader.exec_module(sys.modules[name])
load("whichever._core", config["core"])
folder = config["folder"]
load(config["package"], folder + "/__init__.py", [folder])
import multiprocessing.process
from whichever.executors._remote.foreman import main
main(config)
"""


@dataclass(frozen=True)
class Spare:
    """A worker that has been ordered, but has no configuration yet.

    Attributes:
        token: Its number in the template's answers.
        socket: The caller's end of its socket.
        modules: What the template was told to import before it was forked.
    """

    token: int
    socket: socket.socket
    modules: frozenset[str]

    def has_ended(self) -> bool:
        """Say whether the worker is known to have ended."""
        ended: bool = _core.has_ended(self.token)
        return ended

    def dismiss(self) -> None:
        """Let the worker end."""
        self.socket.close()
        _core.forget_worker(self.token)


class Template:
    """One template process.

    Args:
        limits: Environment variables that say how many threads native libraries may start in each of its workers.
    """

    def __init__(self, limits: dict[str, str]) -> None:
        self.limits = limits
        self.modules: frozenset[str] = frozenset()
        self.spares: deque[Spare] = deque()
        # The object stays with us: it goes by Python code, in which a Ctrl-C would be lost.
        self._process, self._control = _start(self.limits)
        self._has_ended = False
        self._number = _core.adopt_template(self._control.fileno())

    def learn(self, modules: frozenset[str]) -> None:
        """Have `modules` imported before the next fork.

        Raises:
            OSError: The template is gone.
        """
        self._control.send(b"M" + json.dumps(sorted(modules)).encode())
        self.modules |= modules

    def fork(self) -> Spare:
        """Order a worker.

        Raises:
            OSError: The template is gone.
        """
        token = new_token()
        _core.belongs_to_template(token, self._number)
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                socket.send_fds(self._control, [PACKET.pack(b"F", 0, token, 0, 0)], [theirs.fileno()])
        except BaseException:
            ours.close()
            raise
        return Spare(token, ours, self.modules)

    def has_ended(self) -> bool:
        """Say whether the process has ended, by whatever means; its spares end with it."""
        # Not by `Popen.poll`, which a Ctrl-C leaves with its lock held.
        if not self._has_ended:
            try:
                self._has_ended = os.waitpid(self._process.pid, os.WNOHANG)[0] != 0
            except ChildProcessError:  # collected by somebody else, or just before a Ctrl-C
                self._has_ended = True
        return self._has_ended

    def hang_up(self) -> None:
        """Let the template and its spares end."""
        with contextlib.suppress(OSError):  # it has ended
            # Closing is not enough: whoever reads the answers has a duplicate.
            self._control.shutdown(socket.SHUT_WR)
        self._control.close()
        while self.spares:
            self.spares.popleft().dismiss()

    def forget(self) -> None:
        """In a forked copy of the caller: close what is the original's."""
        for spare in self.spares:
            spare.socket.close()
        self._control.close()
        self._has_ended = True  # it is not our child

    def wait(self, seconds: float) -> None:
        """Wait for its end; kill it after `seconds`."""
        end, pause = time.monotonic() + seconds, _SHORTEST_PAUSE_SECONDS
        try:
            while not self.has_ended() and (left := end - time.monotonic()) > 0:
                time.sleep(min(pause, left))
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
        finally:
            if not self.has_ended():
                os.kill(self._process.pid, signal.SIGKILL)
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(self._process.pid, 0)


def new_token() -> int:
    """Return a number that no worker of this process has had."""
    token: int = _core.new_token()
    return token


def _start(limits: dict[str, str]) -> tuple[subprocess.Popen[bytes], socket.socket]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    # Ctrl-C goes to the whole process group: hold it back until the template has its handler.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        # A file, for a command line has a limit; and one that the template can write for a start-over.
        with open(file_in_memory("whichever-template"), "wb") as file:  # noqa: PTH123 - it has no path
            file.write(json.dumps(_configuration(theirs.fileno())).encode())
            file.seek(0)
            process = subprocess.Popen(  # noqa: S603 - our own interpreter and program
                # Not from the working folder (-P): it may hold a json.py, or be gone.
                [sys.executable, "-P", *_switches(), "-c", _PROGRAM],
                stdin=file,
                pass_fds=[theirs.fileno()],
                env=os.environ | limits,
            )
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    process.returncode = 0  # it need not look for its end: see `Template.has_ended`
    return process, ours


def _configuration(control: int) -> dict[str, object]:
    return {
        "program": _LOAD,
        "path": search_path(),
        "folder": str(Path(__file__).parent / "_remote"),
        "package": f"{__package__}._remote",
        "core": _core.__file__,
        "control": control,
        "parent": os.getpid(),
        "argv": [str(word) for word in sys.argv],
        "modules": [],
        "late": [],
        "children": {},
    }


def _switches() -> list[str]:
    """Return interpreter switches (-W, -X, -O ...) in the standard library's own rendering."""
    switches: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # noqa: SLF001
    return switches
