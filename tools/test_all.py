"""Build whichever and run its tests on every CPython of this machine, one after the other.

    test_all.py [VERSION ...] [-- PYTEST ARGUMENTS]

Each version has its own environment (``.venv-VERSION``) and its own target folder, else PyO3 would be built
again at each switch. The package is installed as a user would: ``pip install .``, not the working tree.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pythons

if TYPE_CHECKING:
    from pathlib import Path

ROOT = pythons.ROOT
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
NEEDED = ["pytest>=8", "pytest-timeout>=2.3", "jsonschema>=4.21"]
WELCOME = ["numpy", "ipython"]
"""Installed where there is a wheel; the tests that want them are skipped elsewhere."""


def environment(version: str, base: Path) -> Path:
    """Make an environment without pip (not every interpreter brings one) and return its Python."""
    folder = ROOT / f".venv-{version}"
    python = folder / "bin" / "python"
    if pythons.version_of(python) != version:
        subprocess.run([base, "-m", "venv", "--clear", "--without-pip", folder], check=True)
    return python


def install(version: str, python: Path) -> None:
    """Install whichever as users do, then what the tests need."""
    pip = [*PIP, "--python", str(python), "install", "--quiet"]
    variables = os.environ | {"CARGO_TARGET_DIR": str(ROOT / "target" / f"py{version}")}
    # The interpreter that builds is the one that is built for.
    variables.pop("PYO3_PYTHON", None)
    subprocess.run([*pip, ".", *NEEDED], check=True, cwd=ROOT, env=variables)
    for package in WELCOME:
        subprocess.run([*pip, "--only-binary", ":all:", package], check=False, capture_output=True)


def run_tests(python: Path, arguments: list[str]) -> int:
    """Run the test-suite against the installed package; return pytest's exit code."""
    return subprocess.run([python, "-m", "pytest", *arguments], cwd=ROOT, check=False).returncode


def test(version: str, base: Path, arguments: list[str]) -> str:
    """Build and test one version; return the outcome in words."""
    begin = time.monotonic()
    print(f"\n== {version}: {base}", flush=True)
    try:
        python = environment(version, base)
        install(version, python)
    except subprocess.CalledProcessError as error:
        return f"FAILED to install: {error.cmd}"
    code = run_tests(python, arguments)
    return f"{'passed' if code == 0 else f'FAILED with {code}'} in {time.monotonic() - begin:.0f} s"


def main(arguments: list[str]) -> int:
    """Test the named versions, or all; return 1 when any failed."""
    split = arguments.index("--") if "--" in arguments else len(arguments)
    versions, pytest_arguments = arguments[:split] or list(pythons.VERSIONS), arguments[split + 1 :]
    outcomes = {}
    for version in versions:
        base = pythons.find(version)
        outcomes[version] = (
            test(version, base, pytest_arguments) if base else "skipped: not found (make pythons)"
        )
    print("\n" + "\n".join(f"{version:6} {outcome}" for version, outcome in outcomes.items()))
    return any("FAILED" in outcome for outcome in outcomes.values())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
