"""The house's own promises: what the gates catch, what the helpers write, what the make targets do."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import whichever

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def room(monkeypatch):
    """Import a module of tools/ or benches/ by its path and name."""

    def load(folder, name):
        monkeypatch.syspath_prepend(str(ROOT / folder))
        return importlib.import_module(name)

    return load


# Sizes


def test_a_function_of_61_code_lines_is_too_long(room):
    sizes = room("tools", "check_sizes")
    longest = "def long():\n" + "    x = 1\n" * 59
    assert sizes.python_complaints("a.py", longest) == []
    assert sizes.python_complaints("a.py", longest + "    x = 2\n") == [
        "a.py:1: long has 61 code lines, over 60"
    ]


def test_docstrings_comments_and_blank_lines_are_not_code(room):
    sizes = room("tools", "check_sizes")
    text = '"""One.\n\nTwo.\n"""\n# three\n\ndef f():\n    """Four."""\n    return """a\nb"""\n'
    assert sizes.python_code_lines(text) == {7, 9, 10}
    assert sizes.rust_code_lines("//! One.\n\nfn f() {} // two\n    /// three\n") == {3}


@pytest.mark.parametrize(("name", "line"), [("a.py", "x = 1\n"), ("a.rs", "mod a;\n")])
def test_a_file_of_501_code_lines_is_too_long(room, name, line):
    sizes = room("tools", "check_sizes")
    assert sizes.complaints_about(name, line * 500) == []
    assert sizes.complaints_about(name, line * 501) == [f"{name}: 501 code lines, over 500"]


# Unsafe code and paths


def test_unsafe_code_is_found_outside_its_crates_only(room):
    house = room("tools", "check_house")
    text = "fn f() { unsafe { g() } }\n"
    assert house.unsafe_complaints(Path("crates/whichever-sys/src/clock.rs"), text) == []
    (complaint,) = house.unsafe_complaints(Path("crates/whichever-model/src/clock.rs"), text)
    assert "unsafe code outside" in complaint


def test_the_word_unsafe_in_strings_and_comments_is_no_unsafe_code(room):
    house = room("tools", "check_house")
    text = '// unsafe {\nconst A: &str = "unsafe \\" unsafe";\n#![forbid(unsafe_code)]\n'
    assert house.unsafe_complaints(Path("crates/whichever-model/src/a.rs"), text) == []


def test_a_safe_crate_must_forbid_unsafe_code(room):
    house = room("tools", "check_house")
    library = Path("crates/whichever-model/src/lib.rs")
    assert house.unsafe_complaints(library, "mod a;\n")
    assert house.unsafe_complaints(library, "#![forbid(unsafe_code)]\nmod a;\n") == []


def test_a_folder_of_one_machine_is_found_by_its_line(room):
    house = room("tools", "check_house")
    # put together here, or this line would be found too
    folder = "{}home{}ada{}x.py".replace("{}", "/")
    (complaint,) = house.path_complaints(Path("a.md"), f"fine\nsee {folder}\n")
    assert complaint.startswith("a.md:2:")
    fine = "/proc/self/task, ~/root/x, https://example.org/work/x, ./work/x and /root alone\n"
    assert house.path_complaints(Path("a.md"), fine) == []


# Tables and result files


@pytest.fixture
def pages(tmp_path, room):
    """A repository of one README with one table block, and its result file."""
    room("benches", "_result").write_result(
        "speed",
        [{"engine": "threads", "speed_up": 1.98765}],
        repeats=3,
        folder=tmp_path / "benches" / "results",
    )
    (tmp_path / "README.md").write_text("before\n<!-- table:speed -->\nold\n<!-- /table -->\nafter\n")
    return tmp_path


def test_a_stale_table_fails_the_check_until_it_is_written(room, pages, capsys):
    tables = room("tools", "tables")
    assert tables.main(["--check"], pages) == 1
    assert "README.md is out of date" in capsys.readouterr().out
    assert tables.main([], pages) == 0
    assert tables.main(["--check"], pages) == 0
    text = (pages / "README.md").read_text()
    assert "| engine | speed up |\n| --- | ---: |\n| threads | 1.99 |\n" in text
    assert "median of 3" in text
    assert text.startswith("before\n")
    assert text.endswith("after\n")


def test_a_table_without_a_result_file_says_so(room, pages):
    (pages / "benches" / "results" / "speed.json").unlink()
    assert room("tools", "tables").main([], pages) == 0
    assert "Not measured yet" in (pages / "README.md").read_text()


def test_each_view_of_a_result_file_has_its_own_block(room, tmp_path):
    data = {
        "workloads": 44, "forecasts": 160, "best_within_5_percent": 0.977, "regret_worst": 1.204,
        "regrets": {"sqlite": 1.204, "json": 1.0}, "error_median": 0.0634, "error_within_20_percent": 0.85,
        "worst_ten": [{"forecast": "lxml / threads", "error": -0.412}], "over_budget_s_p95": 0.121,
    }  # fmt: skip
    room("benches", "_result").write_result("verdicts", data, folder=tmp_path)
    tables = room("tools", "tables")
    text = "".join(
        f"<!-- table:{name} -->\n<!-- /table -->\n"
        for name in ("verdicts", "verdicts.worst", "verdicts.regrets")
    )
    filled = tables.filled(text, tmp_path)
    assert "| 44 workloads, 160 forecasts | measured | aim |" in filled
    assert "| chosen engine within 5 % of the best | 97.7 % | 95 % or more |" in filled
    assert "| lxml / threads | -41% |" in filled
    assert "| sqlite | 1.20x |" in filled
    assert "json |" not in filled
    assert filled.count("measured once") == 3
    assert tables.filled(filled, tmp_path) == filled


def test_the_pools_views_show_promises_figures_and_black_box_failures(room, tmp_path):
    target = {
        "figure": "no-op", "unit": "us", "ours": 2.0, "rival": "Ray", "theirs": None, "factor": None, "at_least": 3,
        "kept": "not measured",
    }  # fmt: skip
    rows = [{"contender": "ours", "figure": "submit_per_s", "median": 1234.5}]
    room("benches", "_result").write_result(
        "process_pool", {"targets": [target], "rows": rows, "lacking": []}, folder=tmp_path
    )
    failure = {"executor": "e", "CPython": "3.13", "start_method": "fork", "outcome": "fail", "why": "w"}
    failures = [failure | {"test": "black", "reads": ""}, failure | {"test": "white", "reads": "e._x"}]
    room("benches", "_result").write_result(
        "conformance_process_pool", {"rows": [], "failures": failures}, folder=tmp_path
    )
    views = ("process_pool", "process_pool.calls", "process_pool.lacks", "conformance_process_pool.failures")
    text = "".join(f"<!-- table:{name} -->\n<!-- /table -->\n" for name in views)
    filled = room("tools", "tables").filled(text, tmp_path)
    assert "| no-op | us | 2 | Ray |  |  | 3 | not measured |" in filled
    assert "| ours |  |  | 1,234 |  |" in filled
    assert "Every pool has every figure." in filled
    assert "| e | 3.13 | fork | black | fail | w |" in filled
    assert "white" not in filled


def test_results_of_any_shape_become_a_table(room):
    tables = room("tools", "tables")
    rows = [{"kind": "sleep", "right": 0.98}]
    expected = "| kind | right |\n| --- | ---: |\n| sleep | 0.98 |\n"
    assert tables.plain_rows(rows) == tables.plain_rows({"rows": rows, "note": "x"}) == expected
    figures = tables.plain_rows({"held_p95_points": 1.234567, "entries": [1, 2], "samples": 12})
    assert figures == "| figure | value |\n| --- | --- |\n| held_p95_points | 1.23 |\n| samples | 12 |\n"
    assert "found nothing" in tables.plain_rows([])


def test_a_bar_in_a_cell_does_not_split_it(room):
    tables = room("tools", "tables")
    assert tables.markdown_table([{"a": "x | y", "b": None}]).splitlines()[-1] == "| x \\| y |  |"


def test_a_result_file_says_what_its_figures_belong_to(room, tmp_path):
    path = room("benches", "_result").write_result("x", {"a": 1}, repeats=5, folder=tmp_path)
    record = json.loads(path.read_text())
    assert list(record) == ["command", "machine", "versions", "commit", "date", "repeats", "results"]
    assert record["machine"]["cores"] == len(os.sched_getaffinity(0))
    assert record["versions"]["whichever"] == whichever.__version__
    assert record["results"] == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_figure_that_json_cannot_hold_leaves_the_old_file_alone(room, tmp_path):
    result = room("benches", "_result")
    path = result.write_result("x", 1, repeats=1, folder=tmp_path)
    with pytest.raises(ValueError, match="JSON"):
        result.write_result("x", float("nan"), repeats=1, folder=tmp_path)
    assert json.loads(path.read_text())["results"] == 1


def test_contenders_take_turns_at_going_first(room):
    result = room("benches", "_result")
    order = []
    figures = result.interleave(
        {name: lambda name=name: order.append(name) or float(len(order)) for name in "ab"}, 3
    )
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert figures == {"a": [1.0, 4.0, 5.0], "b": [2.0, 3.0, 6.0]}
    assert result.medians(figures) == {"a": 4.0, "b": 3.0}


def test_a_quantile_is_one_of_the_values(room):
    quantile = room("benches", "_result").quantile
    values = [float(value) for value in range(20, 0, -1)]
    assert quantile(values, 0.95) == 19.0
    assert quantile(values, 1.0) == 20.0
    assert quantile([7.0], 0.0) == 7.0


# Helpers of make


def test_quietly_says_one_line_when_all_is_well():
    done = subprocess.run(
        [ROOT / "tools" / "quietly", "noise", "echo", "much"], capture_output=True, text=True, check=True
    )
    assert re.fullmatch(r"noise: ok \(\d+ s\)\n", done.stdout)


def test_quietly_shows_everything_and_keeps_the_code_on_failure():
    command = [ROOT / "tools" / "quietly", "noise", "sh", "-c", "echo out; echo err >&2; exit 7"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 7
    assert done.stdout == "out\nerr\n"
    assert "noise: failed with 7" in done.stderr


def test_an_old_python_is_refused_with_the_way_out(room, monkeypatch):
    make_venv = room("tools", "make_venv")
    monkeypatch.setattr(sys, "version_info", (3, 10, 4, "final", 0))
    with pytest.raises(SystemExit, match=r"needs Python 3\.11 or later, and this is 3\.10\.4 .* PYTHON="):
        make_venv.main("nowhere")


def test_a_named_interpreter_is_found_by_its_version(room, monkeypatch):
    pythons = room("tools", "pythons")
    own = pythons.version_of(Path(sys.executable))
    assert own.startswith(f"{sys.version_info.major}.{sys.version_info.minor}")
    monkeypatch.setenv("WHICHEVER_PYTHONS", f"/nonexistent/python:{sys.executable}")
    assert pythons.find(own) == Path(sys.executable)
    assert pythons.version_of(Path("/nonexistent/python")) is None


def make_dry(*arguments):
    command = ["make", "--dry-run", "--no-print-directory", *arguments]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True, env=environment
    ).stdout


def test_without_nextest_the_rust_tests_still_run():
    assert "cargo nextest run" in make_dry("test-rust", "NEXTEST=yes")
    assert "cargo test --workspace" in make_dry("test-rust", "NEXTEST=")


def test_help_names_every_target_for_people():
    shown = make_dry("help")
    for target in (
        "demo", "test", "lint", "bench", "bench-auto", "bench-rivals", "conformance", "soak", "random-programs",
        "bench-loops", "conformance-loop", "soak-loop", "pythons", "test-all", "clean",
    ):  # fmt: skip
        assert f"make {target} " in shown


def test_the_ci_script_is_valid_shell():
    subprocess.run(["bash", "-n", ROOT / ".ci" / "run"], check=True)


# The package


def test_the_version_is_the_same_everywhere():
    version = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
    assert whichever.__version__ == version
    assert importlib.metadata.version("whichever") == version


def test_importing_the_core_keeps_a_free_threaded_interpreter_free():
    code = "import sys, whichever; print(getattr(sys, '_is_gil_enabled', lambda: True)())"
    free_threaded = bool(importlib.import_module("sysconfig").get_config_var("Py_GIL_DISABLED"))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(not free_threaded)


# Documents


def documents():
    folders = (ROOT, ROOT / "docs", ROOT / "changes")
    return [path for folder in folders for path in sorted(folder.glob("*.md"))]


@pytest.mark.parametrize("path", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_links_inside_the_repository_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        if not target.startswith("http"):
            file, _, heading = target.partition("#")
            linked = path.parent / file if file else path
            assert linked.exists(), target
            headings = re.findall(r"^#+ (.*)$", linked.read_text(), re.MULTILINE) if heading else []
            assert not heading or heading in [text.lower().replace(" ", "-") for text in headings], target


def test_the_index_leads_to_every_page():
    index = (ROOT / "docs" / "index.md").read_text()
    pages = [path.name for path in (ROOT / "docs").glob("*.md") if path.name != "index.md"]
    assert [page for page in pages if f"({page})" not in index] == []


def test_the_architecture_names_every_room():
    text = (ROOT / "ARCHITECTURE.md").read_text()
    crates = [f"crates/{path.name}" for path in (ROOT / "crates").iterdir() if path.is_dir()]
    rooms = [
        path.name
        for path in (ROOT / "python" / "whichever").iterdir()
        if path.is_dir() and path.name != "__pycache__"
    ]
    assert [room for room in crates + rooms if room not in text] == []


@pytest.fixture
def history(tmp_path):
    """A changelog with one older release, and two fragments."""
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n## [Unreleased]\n\n## [0.1.0] - 2026-01-01\n")
    (tmp_path / "changes").mkdir()
    (tmp_path / "changes" / "README.md").write_text("about\n")
    (tmp_path / "changes" / "pool-size.fixed.md").write_text("A pool of one\nworks.\n")
    (tmp_path / "changes" / "queue.added.md").write_text("A queue.\n")
    return tmp_path


def test_a_release_moves_the_fragments_into_the_changelog(room, history):
    assert room("tools", "changelog").release("0.2.0", history, "2026-02-03") == 2
    assert (history / "CHANGELOG.md").read_text() == (
        "# Changelog\n\n## [Unreleased]\n"
        "\n## [0.2.0] - 2026-02-03\n"
        "\n### Added\n\n- A queue.\n"
        "\n### Fixed\n\n- A pool of one\n  works.\n"
        "\n## [0.1.0] - 2026-01-01\n"
    )
    assert [path.name for path in (history / "changes").iterdir()] == ["README.md"]


def test_a_fragment_of_no_known_kind_stops_the_release(room, history):
    (history / "changes" / "queue.better.md").write_text("A better queue.\n")
    before = (history / "CHANGELOG.md").read_text()
    with pytest.raises(SystemExit, match=r"queue\.better\.md is not"):
        room("tools", "changelog").release("0.2.0", history, "2026-02-03")
    assert (history / "CHANGELOG.md").read_text() == before


def test_the_fragments_in_changes_have_a_known_kind(room):
    found = room("tools", "changelog").fragments(ROOT / "changes")
    assert sum(map(len, found.values())) == len(list((ROOT / "changes").iterdir())) - 1
