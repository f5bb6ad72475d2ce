"""Find the CPythons of this machine that whichever supports, one of each version.

Looks where people have them: ``WHICHEVER_PYTHONS`` (paths, separated by colons), ``.pythons`` (made by
``make pythons``), pyenv, the search path, and /usr/local and /opt. The first that works wins.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
VERSIONS = ("3.11", "3.12", "3.13", "3.14", "3.14t", "3.15", "3.15t")
ASK = (
    "import sys, sysconfig; print('%d.%d' % sys.version_info[:2] + "
    "('t' if sysconfig.get_config_var('Py_GIL_DISABLED') else '') "
    "if sys.implementation.name == 'cpython' else 'other')"
)
"""Answered by any Python: its version in the form used here."""


def candidates(version: str) -> Iterator[Path]:
    """List where a Python of `version` might be, the most explicit place first."""
    yield from (Path(part) for part in os.environ.get("WHICHEVER_PYTHONS", "").split(":") if part)
    name = f"python{version}"
    yield ROOT / ".pythons" / version / "bin" / name
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from sorted(pyenv.glob(f"versions/{version.rstrip('t')}.*/bin/{name}"), reverse=True)
    yield from (Path(folder) / name for folder in os.get_exec_path())
    for pattern in (f"usr/local/bin/{name}", f"opt/*/bin/{name}", f"opt/*/{version}/bin/{name}"):
        yield from sorted(Path("/").glob(pattern))


def version_of(python: Path) -> str | None:
    """Ask an interpreter for its version, ``3.14t`` for a free-threaded one; None when it does not run."""
    try:
        done = subprocess.run(
            [python, "-I", "-c", ASK], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def find(version: str) -> Path | None:
    """Find one Python of `version`."""
    for path in candidates(version):
        if path.is_file() and version_of(path) == version:
            return path
    return None


def main() -> int:
    """Print each version with its path."""
    for version in VERSIONS:
        print(f"{version:6} {find(version) or 'not found'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
