"""Half a minute of everything that one may do to pools, at random; `make stress` has five."""

import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parents[2] / "tools" / "stress_pools.py"


@pytest.mark.timeout(400)
def test_half_a_minute_of_stress_loses_nothing_and_leaves_nothing():
    command = [sys.executable, "-X", "dev", TOOL, "--seconds", "30"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=390, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing left" in done.stdout
