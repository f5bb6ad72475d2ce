"""`whichever demo`: the table, the page, and jobs that cannot run or fail."""

import subprocess
import sys
from html.parser import HTMLParser

import pytest

import whichever
from whichever.cli import main
from whichever.cli.demo import figures, run
from whichever.errors import EngineError

SMALL = "reading,coroutines"


def demo(*options):
    return main(["demo", "--html", "d.html", *options])


@pytest.fixture
def without_numpy(monkeypatch):
    monkeypatch.setitem(sys.modules, "numpy", None)
    monkeypatch.delitem(sys.modules, "whichever.cli.demo.arrays", raising=False)


def test_the_table_says_textbook_verdict_figures_and_why(advisor, folder, capfd):
    assert demo("--jobs", SMALL) == 0
    out = capfd.readouterr().out
    (reading,) = (line for line in out.splitlines() if "Read small files" in line)
    (coroutine,) = (line for line in out.splitlines() if "Coroutine that blocks" in line)
    assert "threads x 4" in reading
    assert "4.0x" in reading  # predicted: 8 s over 2 s
    assert reading.count("5.0x") == 2  # measured: 8 s over 1.6 s, for the textbook's engine and the verdict's
    assert "async" in coroutine
    assert coroutine.count("5.0x") == 1  # nobody measured the textbook's engine
    assert "More follows" not in out
    assert out.splitlines()[-1] == "report: d.html"


def test_a_busy_machine_is_said_once_and_does_not_hide_why(advisor, folder, capfd):
    advisor.queue_share = 0.4
    advisor.reasons = ("Too busy to tell.", *advisor.reasons)
    assert demo("--jobs", SMALL) == 0
    out = capfd.readouterr().out
    assert "the machine was busy during 2 of 2 jobs" in out
    assert "Too busy" not in out
    assert out.count("It waits") == 2
    assert "The machine was busy during 2 of 2 jobs" in (folder / "d.html").read_text(encoding="utf-8")


def test_a_quiet_machine_is_not_called_busy(advisor, folder, capfd):
    advisor.queue_share = 0.05
    assert demo("--jobs", "reading") == 0
    assert "busy" not in capfd.readouterr().out


def test_jobs_are_verified_unless_told_otherwise(advisor, folder, capfd):
    assert demo("--jobs", "reading") == 0
    assert advisor.options["verify"] is True
    assert demo("--jobs", "reading", "--no-verify") == 0
    assert advisor.options["verify"] is False
    (line,) = (line for line in capfd.readouterr().out.splitlines()[-8:] if "Read small files" in line)
    assert "5.0x" not in line


def test_the_named_jobs_run_in_the_demonstrations_order(advisor, folder, capfd):
    assert demo("--jobs", "coroutines,reading") == 0
    kept = capfd.readouterr().err.splitlines()
    assert kept == ["[1/2] reading: threads x 4", "[2/2] coroutines: threads x 4"]


def test_without_names_all_jobs_are_meant():
    assert run.chosen(None) == run.NAMES


def test_a_job_whose_library_is_missing_is_skipped_by_name(advisor, folder, capfd, without_numpy):
    assert demo("--jobs", "arrays,reading") == 0
    out = capfd.readouterr().out
    assert "skipped arrays: needs numpy" in out
    assert "Read small files" in out
    assert "Skipped: arrays, needs numpy" in (folder / "d.html").read_text(encoding="utf-8")


def test_a_job_that_fails_does_not_stop_the_others(advisor, folder, capfd):
    calls = iter([EngineError("the workers <died>"), None])

    def fail_once():
        error = next(calls)
        if error:
            raise error

    advisor.before = fail_once
    assert demo("--jobs", SMALL) == 1
    out = capfd.readouterr().out
    assert "failed reading: EngineError: the workers <died>" in out
    assert "Coroutine that blocks" in out
    assert "the workers &lt;died&gt;" in (folder / "d.html").read_text(encoding="utf-8")


class Page(HTMLParser):
    """Checks that what is opened is closed; remembers ids, links and text."""

    VOID = frozenset({"meta", "link", "img", "br", "hr", "input"})

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.links, self.text = [], set(), set(), ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        if tag not in self.VOID:
            self.open.append(tag)
        named = dict(attributes)
        self.ids.add(named.get("id"))
        self.links |= {named[name] for name in ("href", "src") if name in named}

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_the_page_stands_alone_and_leads_to_each_verdict(advisor, folder):
    assert demo("--jobs", SMALL) == 0
    page = Page((folder / "d.html").read_text(encoding="utf-8"))
    assert page.open == []
    assert page.links == {"#reading", "#coroutines"}
    assert {"reading", "coroutines"} <= page.ids
    assert "threads for read" in page.text
    assert "file access: threads" in page.text
    assert [file.name for file in folder.iterdir() if file.name.endswith(".html")] == ["d.html"]


def test_the_page_goes_where_it_is_told_or_to_the_current_folder(advisor, folder):
    assert main(["demo", "--jobs", "reading"]) == 0
    assert (folder / "whichever-demo.html").is_file()


@pytest.mark.parametrize(
    ("speedup", "written"), [(None, "-"), (0.112, "0.11x"), (1.94, "1.9x"), (9.99, "10.0x"), (41.6, "42x")]
)
def test_speed_ups_have_the_digits_that_mean_something(speedup, written):
    assert figures.factor(speedup) == written


def test_a_plain_loop_is_written_without_workers(advisor):
    answer = advisor(abs, [1, -1])
    assert figures.engine_and_workers(answer) == "threads x 4"
    object.__setattr__(answer, "engine", "serial")
    assert figures.engine_and_workers(answer) == "serial"


def test_ctrl_c_ends_the_demonstration_with_130(monkeypatch, folder, capfd):
    def interrupted(fn, items, **_):
        raise KeyboardInterrupt

    monkeypatch.setattr(whichever, "which", interrupted)
    assert demo("--jobs", "downloads") == 130
    assert capfd.readouterr().err == "whichever: interrupted\n"


def loaded_by(module):
    program = f"import sys, {module}; print(*sys.modules)"
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    return set(ended.stdout.split())


def test_the_other_commands_load_no_job_and_no_table():
    assert not {"rich", "whichever.cli.demo"} & loaded_by("whichever.cli._main")


def test_a_worker_that_loads_a_job_loads_no_command_line():
    assert not {"argparse", "rich", "whichever.cli._main", "whichever.advisor"} & loaded_by(
        "whichever.cli.demo.primes"
    )
