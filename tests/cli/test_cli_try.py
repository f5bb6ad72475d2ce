"""`whichever try`: each way to name the task and its items, each option."""

import json
import subprocess
import sys

import pytest

from whichever.cli import main

NUMBERS = ["--items", "tasks_here:numbers"]


def test_the_answer_is_all_that_standard_output_carries(advisor, folder, capfd):
    assert main(["try", "tasks_here:chatty", *NUMBERS]) == 0
    printed = capfd.readouterr()
    assert printed.out == "which: threads for 80 tasks of chatty\n"
    assert printed.err.count("noise from a task") == 2


def test_what_worker_processes_print_stays_off_standard_output_too(advisor, folder, capfd):
    advisor.before = lambda: subprocess.run([sys.executable, "-c", "print('from a worker')"], check=True)
    assert main(["try", "tasks_here:double", *NUMBERS]) == 0
    printed = capfd.readouterr()
    assert "from a worker" not in printed.out
    assert "from a worker" in printed.err


def test_a_module_in_the_current_folder_is_found_by_name(advisor, folder):
    assert main(["try", "tasks_here:double", *NUMBERS]) == 0
    assert advisor.results == [2, 4]


def test_a_path_names_a_module_too(advisor, folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "far_task.py").write_text("def size(path):\n    return len(path)\n", encoding="utf-8")
    assert main(["try", f"{elsewhere}/far_task.py:size", *["--lines", "tasks_here.py"]]) == 0
    fn = advisor.calls[0][0]
    assert (fn.__module__, advisor.results[0]) == ("far_task", len("LIMIT = 3"))


def test_a_function_inside_a_class_is_found_by_its_dotted_name(advisor, folder):
    assert main(["try", "tasks_here:Tools.triple", *NUMBERS]) == 0
    assert advisor.results == [3, 6]


def test_each_gives_the_matching_files_in_order(advisor, folder):
    for name in ("b.txt", "a.txt", "deep/c.txt"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(name, encoding="utf-8")
    (folder / "folder.txt").mkdir()
    assert main(["try", "tasks_here:double", "--each", "**/*.txt"]) == 0
    assert advisor.items == ["a.txt", "b.txt", "deep/c.txt"]


@pytest.mark.parametrize("name", ["numbers", "endless", "old"])
def test_items_takes_an_iterable_a_function_that_gives_one_or_an_old_sequence(advisor, folder, name):
    assert main(["try", "tasks_here:double", "--items", f"tasks_here:{name}"]) == 0
    assert advisor.results == {"numbers": [2, 4], "endless": [0, 2], "old": [14, 16]}[name]


def test_lines_gives_lines_without_their_ends(advisor, folder):
    (folder / "names").write_text("Ada\nGrace Hopper\n", encoding="utf-8")
    assert main(["try", "tasks_here:double", "--lines", "names"]) == 0
    assert advisor.items == ["Ada", "Grace Hopper"]


def test_every_option_reaches_the_advisor(advisor, folder):
    options = ["--count", "900", "--engines", "processes,serial", "--workers", "3", "--verify"]
    assert main(["try", "tasks_here:double", "--items", "tasks_here:endless", *options]) == 0
    asked = advisor.options
    assert (asked["count"], asked["workers"], asked["verify"]) == (900, 3, True)
    assert asked["engines"] == ("serial", "processes")


def test_without_options_the_advisor_decides(advisor, folder):
    assert main(["try", "tasks_here:double", *NUMBERS]) == 0
    asked = advisor.options
    assert (asked["count"], asked["workers"], asked["engines"], asked["verify"]) == (None, None, None, False)


def test_html_and_json_are_written(advisor, folder):
    assert main(["try", "tasks_here:double", *NUMBERS, "--html", "v.html", "--json", "v.json"]) == 0
    assert "threads for double" in (folder / "v.html").read_text(encoding="utf-8")
    assert json.loads((folder / "v.json").read_text(encoding="utf-8"))["engine"] == "threads"


def test_progress_is_not_shown_where_there_is_no_terminal(advisor, folder, capfd):
    assert main(["try", "tasks_here:double", *NUMBERS]) == 0
    assert capfd.readouterr().err == ""
