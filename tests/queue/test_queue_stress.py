"""Half a minute of everything at once; `make stress` has five."""

import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parents[2] / "tools" / "stress_queue.py"


@pytest.mark.timeout(150)
def test_half_a_minute_of_stress_loses_nothing_and_blocks_nobody():
    command = [sys.executable, TOOL, "--seconds", "30"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=140, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing lost" in done.stdout
