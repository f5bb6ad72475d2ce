"""How many threads BLAS and OpenMP may use while tasks of thread pools run.

Each of several threads that multiply matrices would start as many threads as there are cores, and they would fight over
these. Processes get environment variables for that; in one process the libraries are asked themselves, by threadpoolctl
where that is installed. OpenMP keeps a number for each thread that calls it; BLAS libraries keep one for the process,
which is limited while tasks of any pool run, by the smallest share of those pools, and then set back.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import threading
import time
from typing import Any

_MODULES = frozenset(
    {"cv2", "faiss", "lightgbm", "mkl", "numexpr", "numpy", "scipy", "sklearn", "torch", "xgboost"}
)
"""Modules that load such libraries: without any, nothing is looked for."""
_OF_LIBRARY = {"openblas": "OPENBLAS", "mkl": "MKL", "blis": "BLIS"}  # beside OMP_NUM_THREADS, which all heed
_LOOK_SHARE = 20  # a look for libraries is made at most in so manieth a part of the time

_lock = threading.RLock()
_shares: dict[int, int] = {}  # of pools whose tasks run
_held: dict[str, _Held] = {}  # by the library's path


def is_possible() -> bool:
    """Say whether libraries can be asked here."""
    return importlib.util.find_spec("threadpoolctl") is not None


class InnerThreads:
    """A pool's share of the cores for the libraries that its tasks call."""

    def __init__(self, share: int) -> None:
        self._share = share

    def limit(self) -> bool:
        """Limit the libraries that are loaded, for the process and for this thread; say whether there are any."""
        with _lock:
            libraries = _libraries()
            if not libraries:
                return False
            _shares[id(self)] = self._share
            _hold([library for library in libraries if library.user_api != "openmp"])
        for library in libraries:
            if library.user_api == "openmp" and (library.num_threads or 0) > self._share:
                library.set_num_threads(self._share)
        return True

    def lift(self) -> None:
        """Give the process back what it had, as far as other pools let it: no task of this one runs."""
        with _lock:
            if _shares.pop(id(self), None) is not None:
                _hold([held.library for held in _held.values()])


class _Held:
    """A library whose number of threads is ours for a while."""

    def __init__(self, library: Any) -> None:
        self.library = library
        self._own: int = library.num_threads
        self._set: int | None = None

    def limit(self, share: int | None) -> None:
        """Hold it to `share` threads; with None let it go. Where somebody else has set it meanwhile, that counts."""
        now = self.library.num_threads
        if self._set is not None and now != self._set:
            self._own = now
        wanted = self._own if share is None else min(self._own, share)
        if wanted != now:
            self.library.set_num_threads(wanted)
            # The first thread to set it would be the only one that can: who lets it go may be another.
            getattr(self.library, "clear_controlling_thread", _nothing)()
        self._set = self.library.num_threads  # as it was where the program is inside a limit of its own


def _nothing() -> None:
    pass


def _hold(libraries: list[Any]) -> None:
    share = min(_shares.values(), default=None)
    for library in libraries:
        if library.filepath not in _held:
            _held[library.filepath] = _Held(library)
        _held[library.filepath].limit(share)
    if share is None:
        _held.clear()


class _Looks:
    """The libraries that the last look has found, and when it was."""

    modules = 0
    libraries: tuple[Any, ...] = ()
    next_at = 0.0


def _libraries() -> tuple[Any, ...]:
    """Return the libraries that are loaded and that the user has not limited; looks only when modules were imported."""
    began, modules = time.monotonic(), len(sys.modules)
    if _MODULES.isdisjoint(sys.modules) or modules == _Looks.modules or began < _Looks.next_at:
        return _Looks.libraries
    controller = importlib.import_module("threadpoolctl").ThreadpoolController()
    _Looks.libraries = tuple(
        library for library in controller.lib_controllers if not _is_users(library) and library.num_threads
    )
    _Looks.modules = len(sys.modules)
    now = time.monotonic()
    _Looks.next_at = now + _LOOK_SHARE * (now - began)
    return _Looks.libraries


def _is_users(library: Any) -> bool:
    """Say whether the user's environment limits it already."""
    own = _OF_LIBRARY.get(library.internal_api, "OMP")
    return "OMP_NUM_THREADS" in os.environ or f"{own}_NUM_THREADS" in os.environ


def _begin_anew() -> None:
    """Let go of what the parent's pools held: their threads are not here."""
    global _lock  # noqa: PLW0603 - somebody may have held it
    _lock = threading.RLock()
    _shares.clear()
    _hold([held.library for held in _held.values()])


os.register_at_fork(after_in_child=_begin_anew)
