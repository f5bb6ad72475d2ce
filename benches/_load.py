"""Builds `whichever-load`: the client that loads servers, and the floors of benches."""

from __future__ import annotations

import os
import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@cache
def built_load(*features: str) -> Path:
    """Build it with these features, and give its path.

    Raises:
        subprocess.CalledProcessError: It does not build.
    """
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    command = ["cargo", "build", "--release", "--quiet", "--locked", "-p", "whichever-load"]
    subprocess.run([*command, "--features", ",".join(features)], check=True, cwd=ROOT)
    return target / "release" / "whichever-load"
