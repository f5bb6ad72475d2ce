"""The bench of the automatic pool: what it makes of its figures, and a short run of it on a workload."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def record(cannot=None, **seconds):
    runs = {
        name.replace("_", ":"): [{"seconds": value} for value in values] for name, values in seconds.items()
    }
    return {"count": 10, "waits": False, "runs": runs, "cannot": cannot or {}}


def room(name):
    return importlib.import_module(f"benches.{name}")


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))


@pytest.fixture
def found():
    records = {
        "close": record(
            auto=[3, 1, 2], serial=[4], processes_2=[2, 1.9, 5], ThreadPoolExecutor=[1], ProcessPoolExecutor=[4],
            joblib=[3],
        ),
        "far": record(
            {"ProcessPoolExecutor": "it raises", "joblib": "it raises"},
            auto=[2], serial=[4], threads_2=[1], ThreadPoolExecutor=[1],
        ),
        "failed": record({"auto": "TypeError: no"}, serial=[4], ThreadPoolExecutor=[4]),
    }  # fmt: skip
    return room("_auto_summary").summary(records)


def test_auto_is_held_against_the_best_fixed_engine_by_medians(found):
    close, far, _ = found["rows"]
    assert (close["auto_s"], close["best"], close["best_s"], close["over_best"]) == (2, "processes:2", 2, 1.0)
    assert (far["best"], far["over_best"]) == ("threads:2", 2.0)
    assert found["worst"] == 2.0
    assert found["best_total_s"] == 7


def test_a_workload_that_auto_cannot_run_is_within_no_factor(found):
    assert found["within_close"] == pytest.approx(1 / 3)
    assert found["over_far"] == ["far", "failed"]
    assert found["worst_ten"][0]["workload"] == "failed"


def test_a_rival_is_compared_where_both_can(found):
    threads, processes, joblib = found["rivals"]
    assert (threads["workloads"], threads["rival_s"], threads["auto_s"], threads["times_as_long"]) == (
        2,
        2,
        4,
        0.5,
    )
    assert (threads["auto_loses_by_2x_or_more"], threads["cannot"]) == (2, 0)
    assert (processes["workloads"], processes["loses_by_2x_or_more"], processes["cannot"]) == (1, 1, 1)
    assert (joblib["loses_by_2x_or_more"], joblib["times_as_long"]) == (0, 1.5)


def test_the_tables_show_it(found, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    tables = importlib.import_module("tables")
    room("_result").write_result("auto", found, folder=tmp_path)
    text = "".join(
        f"<!-- table:{name} -->\n<!-- /table -->\n" for name in ("auto", "auto.rivals", "auto.worst")
    )
    filled = tables.filled(text, tmp_path)
    assert "| within 1.10x of the best fixed engine | 33.3 % | 95 % or more |" in filled
    assert "| ThreadPoolExecutor | 2 | 2 | 4 | 0.50 | 0 | 2 | 0 |" in filled
    assert (
        "| far | 2 | None | 1 | threads:2 | 2.00x |" in filled
        or "| far | 2 |  | 1 | threads:2 | 2.00x |" in filled
    )


def bench(script, tmp_path, *arguments):
    command = [
        sys.executable,
        ROOT / "benches" / script,
        "--only",
        "time_sleep,closure_list",
        "--out",
        tmp_path / "found",
    ]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads((tmp_path / "found.json").read_text())["results"]


def test_a_run_has_every_contender_that_keeps_what_the_program_means(tmp_path):
    found = bench("auto.py", tmp_path, "--seconds", "0.2")
    runs = {name: set(kept["runs"]) for name, kept in found["records"].items()}
    assert {"auto", "serial", "threads:128", "processes:4", "ThreadPoolExecutor"} <= runs["time_sleep"]
    assert {"auto", "serial", "threads:2", "ThreadPoolExecutor"} <= runs["closure_list"]
    assert not any(name.startswith(("processes", "Process", "joblib")) for name in runs["closure_list"])
    assert (
        found["records"]["closure_list"]["cannot"]["ProcessPoolExecutor"]
        == "it would change what the program means"
    )
    assert all(line["auto_s"] > 0 for line in found["rows"])


def test_a_short_job_is_measured_beside_a_plain_loop(tmp_path):
    found = bench("auto_short.py", tmp_path, "--repeats", "1")
    assert [line["workload"] for line in found["rows"]] == ["time_sleep", "closure_list"]
    assert all(
        line[key] > 0
        for line in found["rows"]
        for key in ("loop_s", "auto_s", "second_loop_s", "second_auto_s")
    )
