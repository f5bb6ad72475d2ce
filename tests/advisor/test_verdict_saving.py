"""Saving a verdict: which suffixes, and never half a file."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from example_verdicts import bare, processes_win


def names_in(folder):
    return [path.name for path in folder.iterdir()]


@pytest.mark.parametrize("name", ["x.html", "x.HTM", "x.json"])
def test_saving_returns_the_path_and_leaves_one_file(tmp_path, name):
    path = processes_win().save(tmp_path / name)
    assert path == tmp_path / name
    assert names_in(tmp_path) == [name]
    assert path.stat().st_size > 1000


def test_a_path_may_be_text(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert processes_win().save("x.json") == Path("x.json")
    assert json.loads(Path("x.json").read_text("utf-8"))["engine"] == "processes"


@pytest.mark.parametrize("name", ["x.txt", "x", "x.json.gz"])
def test_another_suffix_is_refused_with_the_ones_that_work(tmp_path, name):
    with pytest.raises(ValueError, match=r"use \.html or \.json"):
        bare().save(tmp_path / name)
    assert names_in(tmp_path) == []


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere' must be a folder that can be written to"):
        bare().save(tmp_path / "nowhere" / "x.html")


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_without_write_permission_is_named(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError, match="must be a folder that can be written to"):
        bare().save(tmp_path / "x.json")


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    path.write_text("old")

    def full(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space left on device") as raised:
        processes_win().save(path)
    assert raised.value.errno == 28
    assert path.read_text() == "old"
    assert names_in(tmp_path) == ["x.json"]


def test_a_failed_drawing_writes_nothing(tmp_path):
    class Unprintable:
        def __str__(self):
            raise RuntimeError

    with pytest.raises(RuntimeError):
        dataclasses.replace(bare(), machine={Unprintable(): 1}).save(tmp_path / "x.json")
    assert names_in(tmp_path) == []


def test_a_link_is_followed_and_stays_a_link(tmp_path):
    (tmp_path / "real.html").write_text("old")
    link = tmp_path / "link.html"
    link.symlink_to("real.html")
    bare().save(link)
    assert link.is_symlink()
    assert (tmp_path / "real.html").read_text("utf-8").startswith("<!DOCTYPE html>")


def test_a_saved_file_has_the_permissions_that_any_new_file_has(tmp_path):
    (tmp_path / "plain").write_text("")
    saved = bare().save(tmp_path / "x.json")
    assert saved.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_importing_the_verdict_loads_neither_rich_nor_jinja():
    code = (
        "import sys, whichever.advisor._verdict;"
        "print(sorted({'rich', 'jinja2', 'IPython'} & {name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"
