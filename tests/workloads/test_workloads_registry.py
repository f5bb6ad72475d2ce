"""The registry is complete, well-formed and free to read; the command line tells it."""

import ast
import importlib
import subprocess
import sys
import typing
from pathlib import Path

import pytest
from workloads import __main__ as command
from workloads.registry import TAGS, Textbook, Workload, workloads

ROOT = Path(__file__).resolve().parents[2]
ALL = workloads()
EACH = pytest.mark.parametrize("workload", ALL.values(), ids=ALL)


def _optional_imports(room):
    """The libraries, neither standard nor ours, that a room's module imports when it is loaded."""
    tree = ast.parse((ROOT / "workloads" / "tasks" / f"{room}.py").read_text())
    names = {alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in tree.body if isinstance(node, ast.ImportFrom)}
    return {name.partition(".")[0] for name in names} - set(sys.stdlib_module_names) - {"workloads"}


def _absent(**changes):
    facts = {"name": "absent", "room": "absent", "known": "nothing", "textbook": "serial", "plausible": bool}
    return Workload(**facts | changes)


def test_there_are_enough_tasks_with_and_without_optional_libraries():
    assert len(ALL) >= 44
    assert sum(not workload.requires for workload in ALL.values()) >= 40
    assert len({library for workload in ALL.values() for library in workload.requires}) >= 14


@EACH
def test_an_entry_says_only_words_that_others_know(workload):
    assert workload.name.isidentifier() or workload.name == "lambda"
    assert workload.known
    assert workload.tags <= set(TAGS)
    assert set(workload.breaks) <= {"threads", "async", "interpreters", "processes"}
    assert workload.textbook in typing.get_args(Textbook)


@EACH
def test_an_entry_requires_every_library_that_its_room_imports(workload):
    assert _optional_imports(workload.room) <= set(workload.requires)


def test_every_tag_is_used():
    assert set(TAGS) == {tag for workload in ALL.values() for tag in workload.tags}


@pytest.mark.parametrize("room", sorted({workload.room for workload in ALL.values()}))
def test_every_preparer_of_a_room_has_its_entry_and_the_reverse(room):
    entries = [workload for workload in ALL.values() if workload.room == room]
    if missing := entries[0].missing():
        pytest.skip(f"{room}: {', '.join(missing)} is not installed")
    module = importlib.import_module(f"workloads.tasks.{room}")
    prepared = {name.removeprefix("prepare_") for name in vars(module) if name.startswith("prepare_")}
    assert prepared == {workload.name for workload in entries}


def test_every_room_of_tasks_is_reached_by_an_entry():
    rooms = {path.stem for path in (ROOT / "workloads" / "tasks").glob("*.py")} - {"__init__"}
    assert rooms == {workload.room for workload in ALL.values()}


def test_reading_the_registry_imports_no_optional_library():
    libraries = sorted({library for workload in ALL.values() for library in workload.requires})
    program = (
        "import sys; from workloads.registry import workloads; "
        f"[w.missing() for w in workloads().values()]; print({{*sys.modules}} & {{*{libraries}}})"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "set()"


def test_what_is_missing_is_named_as_it_is_installed(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    monkeypatch.setattr("shutil.which", lambda _: None)
    workload = _absent(requires=("PIL", "lxml"), programs=("postgres",))
    assert workload.missing() == ("Pillow", "lxml", "postgres")


def test_the_list_names_every_workload(capsys):
    assert command.main(["list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(ALL)


def test_a_check_skips_what_is_missing_and_says_its_name(monkeypatch, capsys):
    monkeypatch.setattr(command, "workloads", lambda: {"absent": _absent(requires=("no_such_library",))})
    assert command.main(["check"]) == 0
    assert "absent                 skipped: no_such_library is not installed" in capsys.readouterr().out


def test_a_check_that_fails_is_said_and_counts(monkeypatch, capsys):
    monkeypatch.setattr(command, "workloads", lambda: {"absent": _absent()})
    assert command.main(["check", "absent"]) == 1
    assert "failed: ModuleNotFoundError" in capsys.readouterr().out


def test_a_check_of_an_unknown_name_says_so(capsys):
    assert command.main(["check", "queens", "kings"]) == 2
    assert "no such workload: kings" in capsys.readouterr().err
