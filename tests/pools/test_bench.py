"""The bench of process pools: what it writes down of contenders that run, fail, lack something or are not there."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def bench(tmp_path, *arguments):
    out = tmp_path / "result"
    command = [sys.executable, ROOT / "benches" / "process_pool.py", "--quick", "--out", out, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(out.with_suffix(".json").read_text())["results"], done.stdout


def figures(results, contender):
    return {row["figure"]: row["median"] for row in results["rows"] if row["contender"] == contender}


def test_a_quick_run_has_every_figure_of_calls(room, tmp_path):
    results, _ = bench(tmp_path, "--only", "calls", "--contenders", "PPE fork,mp.Pool")
    assert set(figures(results, "PPE fork")) == {
        "round_trip_p50_us", "round_trip_p99_us", "submit_per_s", "map_default_per_s", "map_best_chunk_per_s",
        "asyncio_per_s",
    }  # fmt: skip
    assert all(value > 0 for value in figures(results, "PPE fork").values())
    assert {"contender": "mp.Pool", "figure": "asyncio_per_s", "why": "is no Executor"} in results["lacking"]


def test_a_contender_that_fails_is_written_down_and_the_others_go_on(room, tmp_path):
    results, _ = bench(
        tmp_path, "--only", "calls", "--contenders", "whichever,mp.Pool", "--pool", "stand_ins:Refusing"
    )
    (failure,) = [row for row in results["lacking"] if row["contender"] == "whichever"]
    assert failure == {
        "contender": "whichever", "figure": "calls", "why": "RuntimeError: not today, after the start",
    }  # fmt: skip
    assert figures(results, "mp.Pool")


def test_a_pool_that_runs_its_tasks_in_the_caller_has_no_figures(room, tmp_path):
    results, _ = bench(tmp_path, "--only", "calls", "--contenders", "whichever", "--pool", "stand_ins:Inline")
    assert results["rows"] == []
    assert results["lacking"][0]["why"].startswith("AssertionError: its tasks run in the caller")


def test_a_contender_that_is_not_there_is_skipped_with_the_reason(room, tmp_path):
    _, said = bench(
        tmp_path, "--only", "start", "--contenders", "whichever,mp.Pool", "--pool", "stand_ins:Nobody"
    )
    assert "whichever: skipped, there is no stand_ins:Nobody" in said


def test_a_promise_is_kept_against_the_quickest_start_method(room):
    compared = room("benches", "_pool_targets").compared
    medians = {
        ("round_trip_p50_us", "whichever"): 10.0,
        ("round_trip_p50_us", "PPE fork"): 99.0,
        ("round_trip_p50_us", "PPE spawn"): 200.0,
        ("submit_per_s", "whichever"): 150.0,
        ("submit_per_s", "PPE spawn"): 10.0,
        ("efficiency_1ms", "whichever"): 0.94,
    }
    rows = {(row["figure"], row["rival"]): row for row in compared(medians)}
    trip = rows["no-op round trip", "PPE fork"]
    assert (trip["factor"], trip["kept"], trip["unit"]) == (9.9, "no", "us")
    assert rows["submit() of no-ops", "PPE spawn"]["kept"] == "yes"
    assert rows["efficiency on tasks of 1 ms", ""]["kept"] == "yes"
    assert rows["submit() of no-ops", "Ray"]["kept"] == "not measured"


def test_a_wrong_reply_is_no_figure(room):
    room("benches", "_pool_tasks")
    pool_figures = room("benches", "_pool_figures")

    class Wrong:
        def call(self, fn, payload):
            return fn(payload[:-1])

    with pytest.raises(AssertionError, match="wrong reply of edges"):
        pool_figures.sent(Wrong(), room("benches", "_pool_tasks").edges, [b"abc"])
