"""A wrong command line ends with its exit code and a sentence that says why, never a traceback."""

import os
import signal
import subprocess
import sys
from importlib.metadata import entry_points

import pytest

import whichever
from whichever.cli import main
from whichever.errors import NoItemsError, TaskError

NUMBERS = ["--items", "tasks_here:numbers"]

WRONG_TRIES = {
    "no such module": (["nosuch:f", *NUMBERS], "no module named 'nosuch'"),
    "no such submodule": (["json.nosuch:f", *NUMBERS], "no module named 'json.nosuch'"),
    "no such function": (["tasks_here:duoble", *NUMBERS], "did you mean 'double'?"),
    "no such attribute inside": (["tasks_here:Tools.four", *NUMBERS], "no 'Tools.four'"),
    "not a function": (["tasks_here:LIMIT", *NUMBERS], "a int cannot be called"),
    "no colon": (["tasks_here", *NUMBERS], "not of the form MODULE:FUNCTION"),
    "nothing after the colon": (["tasks_here:", *NUMBERS], "not of the form MODULE:FUNCTION"),
    "no such file": (["none.py:f", *NUMBERS], "none.py: no such file"),
    "a file with a taken name": (["json.py:loads", *NUMBERS], "already belongs to another module"),
    "a module with a syntax error": (["typo.py:f", *NUMBERS], "typo.py:2"),
    "a module that raises": (["raises:f", *NUMBERS], "ZeroDivisionError: division by zero"),
    "a module that needs another": (["needs:f", *NUMBERS], "needs cannot be imported"),
    "a module that exits": (["exits:f", *NUMBERS], "SystemExit: 3"),
    "no file matches": (["tasks_here:double", "--each", "*.nope"], "--each *.nope: no file matches"),
    "no such items": (["tasks_here:double", "--items", "tasks_here:nope"], "has no 'nope'"),
    "items that are not": (["tasks_here:double", "--items", "tasks_here:LIMIT"], "a int cannot be iterated"),
    "items of the wrong form": (["tasks_here:double", "--items", "numbers"], "MODULE:ITERABLE"),
    "items that raise": (["tasks_here:double", "--items", "tasks_here:broken"], "no numbers today"),
    "no such lines": (["tasks_here:double", "--lines", "nope.txt"], "No such file or directory"),
    "lines of a folder": (["tasks_here:double", "--lines", "."], "Is a directory"),
    "lines that are not text": (["tasks_here:double", "--lines", "bytes"], "not UTF-8 text (byte 1)"),
    "an empty file of lines": (["tasks_here:double", "--lines", "empty"], "has no lines"),
    "no source": (["tasks_here:double"], "one of the arguments --each --items --lines is required"),
    "two sources": (["tasks_here:double", *NUMBERS, "--each", "*"], "not allowed with"),
    "an unquoted pattern": (["tasks_here:double", "--each", "a.py", "b.py"], "in quotes"),
    "an unknown option": (["tasks_here:double", *NUMBERS, "--fast"], "unrecognized arguments: --fast"),
    "an unknown engine": (
        ["tasks_here:double", *NUMBERS, "--engines", "gevent"],
        "gevent named; the engines are",
    ),
    "no engine": (["tasks_here:double", *NUMBERS, "--engines", ","], "nothing named"),
    "no worker": (["tasks_here:double", *NUMBERS, "--workers", "0"], "not a whole number above 0"),
    "a count in words": (["tasks_here:double", *NUMBERS, "--count", "ten"], "not a whole number above 0"),
    "a report of another kind": (["tasks_here:double", *NUMBERS, "--html", "x.pdf"], "does not end in .html"),
    "data of another kind": (["tasks_here:double", *NUMBERS, "--json", "x.html"], "does not end in .json"),
    "a report in no folder": (
        ["tasks_here:double", *NUMBERS, "--html", "no/x.html"],
        "the folder no is not there",
    ),
}


@pytest.fixture
def wrong_files(folder):
    (folder / "json.py").write_text("loads = 1\n", encoding="utf-8")
    (folder / "typo.py").write_text("good = 1\ndef f(:\n", encoding="utf-8")
    (folder / "raises.py").write_text("1 / 0\n", encoding="utf-8")
    (folder / "needs.py").write_text("import no_such_library\n", encoding="utf-8")
    (folder / "exits.py").write_text("raise SystemExit(3)\n", encoding="utf-8")
    (folder / "bytes").write_bytes(b"a\xff\xfe")
    (folder / "empty").touch()
    return folder


def code_of(argv):
    try:
        return main(argv)
    except SystemExit as end:  # argparse's own way out
        return end.code


@pytest.mark.parametrize("case", WRONG_TRIES)
def test_a_wrong_try_ends_with_2_and_says_why(case, wrong_files, advisor, capfd):
    argv, said = WRONG_TRIES[case]
    assert code_of(["try", *argv]) == 2
    printed = capfd.readouterr()
    assert said in printed.err
    assert "Traceback" not in printed.err
    assert printed.out == ""
    assert advisor.calls == []


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "COMMAND"),
        (["frobnicate"], "invalid choice"),
        (["machine", "--hard"], "unrecognized arguments: --hard"),
        (["demo", "--jobs", "primes,soup"], "no job is called soup; the jobs are primes, words"),
        (["demo", "--html", "demo.txt"], "does not end in .html"),
        (["demo", "--html", "/no/such/folder/demo.html"], "not there or cannot be written to"),
    ],
)
def test_other_wrong_command_lines_end_with_2_and_say_why(argv, said, folder, advisor, capfd):
    assert code_of(argv) == 2
    assert said in capfd.readouterr().err
    assert advisor.calls == []


def test_where_no_verdict_can_be_given_the_exit_code_is_1(monkeypatch, folder, capfd):
    def refuse(fn, items, **_):
        try:
            fn(None)
        except TypeError as error:
            raise TaskError("every task raised", 0) from error

    monkeypatch.setattr(whichever, "which", refuse)
    assert main(["try", "tasks_here:double", *NUMBERS]) == 1
    said = capfd.readouterr().err
    assert said.startswith("whichever: every task raised (")
    assert said.endswith("tasks_here.py:4)\n")
    assert "Traceback" not in said


def test_an_empty_iterable_is_told_in_the_advisors_words(monkeypatch, folder, capfd):
    def refuse(fn, items, **_):
        raise NoItemsError("nothing to measure")

    monkeypatch.setattr(whichever, "which", refuse)
    assert main(["try", "tasks_here:double", *NUMBERS]) == 1
    assert capfd.readouterr().err == "whichever: nothing to measure\n"


def run(*command, **options):
    return subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, timeout=60, check=False, **options
    )


def test_a_real_process_ends_with_2_and_one_line(folder):
    ended = run("-m", "whichever", "try", "nosuch:f", "--each", "*.py", cwd=folder)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert len(ended.stderr.splitlines()) == 1


def test_python_m_whichever_tells_its_version():
    ended = run("-m", "whichever", "--version")
    assert (ended.returncode, ended.stdout) == (0, f"whichever {whichever.__version__}\n")


def test_the_installed_command_is_the_same_one():
    (command,) = entry_points(group="console_scripts", name="whichever")
    assert command.load() is main


INTERRUPTED = """
import sys, threading, whichever
def never(fn, items, **options):
    print("measuring", file=sys.stderr, flush=True)
    while not threading.Event().wait(0.05):  # a signal just before a longer wait would not end it
        pass
whichever.which = never
sys.exit(whichever.cli.main(["try", "math:sqrt", "--lines", sys.argv[1]]))
"""


def test_ctrl_c_ends_with_130_and_one_line(folder):
    (folder / "lines").write_text("1\n", encoding="utf-8")
    program = "import whichever.cli\n" + INTERRUPTED
    with subprocess.Popen(
        [sys.executable, "-c", program, "lines"], cwd=folder, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stderr.readline() == "measuring\n"
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 130
            assert process.stderr.read() == "whichever: interrupted\n"
        finally:
            process.kill()


def test_a_reader_that_has_gone_is_no_reason_for_a_traceback(folder):
    program = (
        "import sys, whichever.cli\n"
        "whichever.which = lambda fn, items, **options: 'x' * 100_000\n"
        "sys.exit(whichever.cli.main(['try', 'math:sqrt', '--lines', 'lines']))\n"
    )
    (folder / "lines").write_text("1\n", encoding="utf-8")
    reading, writing = os.pipe()
    os.close(reading)
    try:
        ended = subprocess.run(
            [sys.executable, "-c", program], cwd=folder, stdout=writing, stderr=subprocess.PIPE, text=True,
            timeout=60, check=False,
        )  # fmt: skip
    finally:
        os.close(writing)
    assert (ended.returncode, ended.stderr) == (1, "")
