"""Every example runs as its reader would run it, and says what it promises."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import whichever
from whichever._types import ENGINE_NAMES

FOLDER = Path(__file__).parents[1] / "examples"

needs_which = pytest.mark.skipif(not hasattr(whichever, "which"), reason="this build has no whichever.which")


def output_of(name, folder, *arguments):
    ended = subprocess.run(
        [sys.executable, "-W", "error", str(FOLDER / f"{name}.py"), *arguments],
        cwd=folder, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
    return ended.stdout


@needs_which
def test_which_engine_prints_a_verdict(tmp_path):
    assert any(name in output_of("which_engine", tmp_path) for name in ENGINE_NAMES)


@needs_which
def test_verify_and_save_prints_measured_times_and_saves_both_files(tmp_path):
    out = output_of("verify_and_save", tmp_path, str(tmp_path))
    assert "serial: predicted" in out
    assert "processes: predicted" in out
    assert "<html" in (tmp_path / "longest_path.html").read_text(encoding="utf-8")
    data = json.loads((tmp_path / "longest_path.json").read_text(encoding="utf-8"))
    assert data["engine"] in ENGINE_NAMES


@needs_which
def test_coroutines_finds_that_waiting_together_is_faster(tmp_path):
    out = output_of("coroutines", tmp_path)
    assert "async" in out.splitlines()[0]
    assert out.splitlines()[-1].startswith("QUESTION ")


@needs_which
def test_unknown_length_leaves_the_next_record_in_its_source(tmp_path):
    first, second = output_of("unknown_length", tmp_path).splitlines()
    assert first.endswith("for 50000 records")
    done, taken = (int(word) for word in second.replace(";", "").split() if word.isdigit())
    assert done == taken > 0


@needs_which
def test_use_the_verdict_runs_no_item_twice_and_finds_the_peak(tmp_path):
    last = output_of("use_the_verdict", tmp_path).splitlines()[-1]
    assert last.startswith("80 results, ")
    assert last.endswith(f"the peak is {peak_below(40_001)}")


def test_process_pool_survives_a_task_that_hangs_and_a_worker_that_dies(tmp_path):
    assert output_of("process_pool", tmp_path).splitlines() == [
        "9592 primes",
        "TaskTimeoutError: the pool goes on",
        "WorkerDied: the pool goes on",
        "25 of them below 100",
    ]


def peak_below(end):
    """The highest number that any start below `end` climbs to, found with a memory of what was seen."""
    peaks = {1: 1}
    for first in range(2, end):
        path = []
        at = first
        while at not in peaks:
            path.append(at)
            at = at // 2 if at % 2 == 0 else 3 * at + 1
        peak = peaks[at]
        for number in reversed(path):
            peak = peaks[number] = max(peak, number)
    return max(peaks[start] for start in range(1, end))


def test_every_example_has_a_test():
    text = Path(__file__).read_text(encoding="utf-8")
    names = sorted(path.stem for path in FOLDER.glob("*.py"))
    assert names
    assert [name for name in names if f'output_of("{name}"' not in text] == []


def test_pools_gives_the_same_on_each_and_closes_what_coroutines_share(tmp_path):
    lines = output_of("pools", tmp_path).splitlines()
    assert lines == [
        "SerialPool: [7, 9, 10, 12]",
        "ProcessPool: [7, 9, 10, 12]",
        "opened",
        "500 answers; cancelled: True",
        "closed",
    ]
