"""A few random programs; `make random-programs` runs a thousand. And the tool finds what is wrong with a pool."""

import importlib
import itertools
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
TOOL = HERE.parents[1] / "tools" / "random_programs.py"
PATIENCE = "5"  # seconds after Ctrl-C: other programs may have the cores


def programs(*arguments, **environment):
    command = [sys.executable, TOOL, "--patience", PATIENCE, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=170, check=False, **environment)


@pytest.mark.timeout(180)
def test_random_programs_give_what_plain_map_gives():
    done = programs("--count", "25")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "25 programs" in done.stdout
    assert "0 failed" in done.stdout


def _is_plain(plan):
    """Say whether a program reads maps over lists, each whole and in order."""
    return (plan.leave, plan.interrupt, plan.thrice) == ("with", None, False) and all(
        (act.what, act.source, act.read, act.options) == ("map", "list", "all", {})
        and act.kind == "busy"
        and sum(act.weights) < 0.5
        for act in plan.acts
    )


@pytest.mark.parametrize(
    ("fault", "words"),
    [("Doubling", "ran more than once"), ("Mixing", "instead of"), ("Leaving", "threads are left")],
)
def test_a_pool_that_is_wrong_is_found(fault, words, monkeypatch):
    monkeypatch.syspath_prepend(str(TOOL.parent))
    planned = importlib.import_module("random_plans").planned
    number = next(number for number in itertools.count() if _is_plain(planned(1, number)))
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    done = programs("--only", str(number), "--pool", f"faulty_pools:{fault}")
    assert done.returncode == 1, done.stdout + done.stderr
    assert words in done.stdout


def test_a_number_always_means_the_same_program():
    shown = [programs("--only", "7", "--show").stdout for _ in range(2)]
    assert shown[0] == shown[1] != programs("--only", "8", "--show").stdout
