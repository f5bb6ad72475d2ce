"""Twenty seconds of everything at once; `make soak-loop` has ten million messages."""

import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parents[2] / "tools" / "soak_loop.py"
FACTORIES = {"asyncio": "asyncio:SelectorEventLoop", "whichever": "whichever:EventLoop"}
SECONDS = {"asyncio": 3, "whichever": 20}
"""On asyncio's loop it is the soak that is tested."""


@pytest.mark.timeout(150)
def test_connections_that_end_in_every_way_lose_nothing_and_leave_nothing(kind):
    command = [sys.executable, TOOL, "--seconds", str(SECONDS[kind]), "--loop", FACTORIES[kind]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=140, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing lost" in done.stdout
