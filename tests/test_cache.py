import json
from pathlib import Path

import pytest

from whichever import _cache
from whichever.advisor._machine import track_record


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("WHICHEVER_CACHE", str(tmp_path / "cache"))


def test_what_is_saved_is_loaded():
    assert _cache.save("a.json", {"x": 1})
    assert _cache.load("a.json") == {"x": 1}


def test_a_damaged_file_counts_as_missing():
    _cache.save("a.json", {"x": 1})
    (Path(_cache.folder()) / "a.json").write_text('{"x": ')
    assert _cache.load("a.json") is None
    assert _cache.load("never.json") is None


def test_a_folder_that_cannot_be_made_is_no_error(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("WHICHEVER_CACHE", str(tmp_path / "file" / "below"))
    assert not _cache.save("a.json", {})
    _cache.append_record("r.jsonl", {})
    assert _cache.records("r.jsonl") == []


def test_saving_leaves_no_temporary_file():
    _cache.save("a.json", {"x": 1})
    assert [path.name for path in Path(_cache.folder()).iterdir()] == ["a.json"]


def test_records_are_kept_line_by_line_and_damaged_lines_skipped():
    _cache.append_record("r.jsonl", {"n": 1})
    with (Path(_cache.folder()) / "r.jsonl").open("a") as file:
        file.write("{broken\n")
    _cache.append_record("r.jsonl", {"n": 2})
    assert [record["n"] for record in _cache.records("r.jsonl")] == [1, 2]


def test_old_records_go_when_there_are_too_many(monkeypatch):
    monkeypatch.setattr(_cache, "_RECORDS_KEPT", 10)
    for n in range(25):
        _cache.append_record("r.jsonl", {"n": n})
    kept = [record["n"] for record in _cache.records("r.jsonl")]
    assert kept[-1] == 24
    assert len(kept) <= 21
    assert json.loads((Path(_cache.folder()) / "r.jsonl").read_text().splitlines()[0])["n"] > 0


def test_the_track_record_sums_up_error_and_regret():
    run = {"engine": "threads", "workers": 2, "predicted": 1.1, "measured": 1.0}
    good = {"runs": [run, run | {"predicted": 0.5}], "regret": 1.0}
    bad = {"runs": [run], "regret": 1.5}
    record = track_record([good, bad])
    assert record is not None
    assert (record.verdicts, record.forecasts) == (2, 3)
    assert record.median_error == pytest.approx(0.1)
    assert record.within_20 == pytest.approx(2 / 3)
    assert (record.best_chosen, record.worst_regret) == (0.5, 1.5)
    assert track_record([]) is None
