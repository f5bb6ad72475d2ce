"""`map(progress=True)`: shown on a terminal, silent elsewhere; and the results are the same."""

import os
import pty
import re
import subprocess
import sys
import textwrap
import threading
import types

import pool_tasks as tasks
import pytest
from watching import until

import whichever
from whichever.executors import _progress, _progress_line

TEXT = """
    import time, whichever
    def task(item):
        time.sleep(0.001)
        return 2 * item
    with whichever.ProcessPool(2) as pool:
        results = pool.map(task, range(500), progress=True)
        print(sum(results))
        print(sum(pool.map(task, iter(range(20)), progress=True)))
        print(sum(pool.options(timeout=9).map(task, range(3), progress=True)))
"""
SUMS = "249500\n380\n6\n"
NO_LIBRARIES = "import sys\nsys.modules['rich'] = sys.modules['tqdm'] = None\n"
TQDM = """
    class tqdm:
        def __init__(self, **how):
            self.how, self.n, self.drawn = how, 0, []
        def set_description_str(self, text, refresh):
            self.how["desc"] = text
        def update(self, count):
            self.n += count
        def close(self):
            print("tqdm", self.how["desc"], self.n, self.how["total"])
"""


@pytest.fixture
def on_terminal(tmp_path):
    """Run a program with a terminal for its standard error; return what it printed and what was shown."""

    def run(text, term="xterm", head=""):
        script = tmp_path / "script.py"
        script.write_text(head + textwrap.dedent(text))
        ours, theirs = pty.openpty()
        program = subprocess.Popen(
            [sys.executable, "-W", "error", str(script)],
            stdout=subprocess.PIPE, stderr=theirs, text=True, cwd=tmp_path,
            env=os.environ | {"TERM": term, "COLUMNS": "100"},
        )  # fmt: skip
        os.close(theirs)
        shown = b""
        try:
            while chunk := os.read(ours, 65536):
                shown += chunk
        except OSError:  # how a terminal says that nobody writes any more
            pass
        os.close(ours)
        out, _ = program.communicate(timeout=30)
        assert program.returncode == 0, shown.decode()
        return out, re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())

    return run


def test_nothing_is_shown_where_standard_error_is_no_terminal(start):
    assert start(TEXT).finish() == (SUMS, "", 0)


def test_without_standard_error_nothing_is_shown(pool, monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    assert list(pool.map(tasks.square, range(5), progress=True)) == [0, 1, 4, 9, 16]


def test_a_bar_with_engine_number_and_rate_is_shown_on_a_terminal(on_terminal):
    out, shown = on_terminal(TEXT)
    assert out == SUMS
    assert re.search(r"processes x2 .* 500/500 .*\d/s \d:\d\d:\d\d", shown)
    assert re.search(r"processes x2 .* 20/20 ", shown)
    assert re.search(r"processes x2 .* 3/3 ", shown)


def test_what_is_printed_beside_a_bar_goes_where_it_would_go_without(on_terminal):
    out, shown = on_terminal("""
        import whichever
        with whichever.ThreadPool(2) as pool:
            for result in pool.map(lambda item: item, range(3), progress=True):
                print(result)
    """)
    assert out == "0\n1\n2\n"
    assert re.search(r"threads x2 .* 3/3 ", shown)


def test_two_maps_at_once_are_two_lines_of_one_display(on_terminal):
    out, shown = on_terminal("""
        import whichever
        with whichever.ThreadPool(2) as threads, whichever.SerialPool() as serial:
            maps = [pool.map(abs, range(4), progress=True) for pool in (threads, serial)]
            print(list(zip(*maps, strict=True)))
    """)
    assert out == "[(0, 0), (1, 1), (2, 2), (3, 3)]\n"
    last = shown[shown.rindex("threads x2") :]
    assert re.search(r"threads x2 .* 4/4 .*\s+serial .* 4/4 ", last)


@pytest.mark.parametrize(("head", "term"), [(NO_LIBRARIES, "xterm"), ("", "dumb")])
def test_a_line_of_text_will_do_without_libraries_or_where_a_cursor_cannot_move(on_terminal, head, term):
    out, shown = on_terminal(TEXT, term, head)
    assert out == SUMS
    lines = re.sub(r"[^\n]*\r(?!\r?\n)", "", shown).splitlines()
    for line, count in zip(lines, ("500/500", "20", "3/3"), strict=True):
        assert re.fullmatch(rf"processes x2: {count}, [\d,.]+/s, 0:00:\d\d *", line)


@pytest.mark.parametrize("head", ["import tqdm\n", "import sys\nsys.modules['rich'] = None\n"])
def test_tqdm_is_used_where_the_program_uses_it_or_rich_is_missing(on_terminal, tmp_path, head):
    (tmp_path / "tqdm.py").write_text(textwrap.dedent(TQDM))
    out, shown = on_terminal(TEXT, head=head)
    sums = SUMS.split()
    assert out.splitlines() == [
        "tqdm processes x2 500 500", sums[0], "tqdm processes x2 20 None", sums[1], "tqdm processes x2 3 3", sums[2],
    ]  # fmt: skip
    assert shown == ""


def test_rich_is_loaded_only_for_what_is_shown():
    code = (
        "import sys, whichever\n"
        "with whichever.ThreadPool(1) as pool: list(pool.map(abs, range(3), progress=True))\n"
        "print('rich' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


class Screen:
    """Stands in for a terminal."""

    def __init__(self):
        self.text = ""

    def isatty(self):
        return True

    def write(self, text):
        self.text += text

    def flush(self):
        pass


@pytest.fixture
def screen(monkeypatch):
    """A terminal that can only write over a line."""
    screen = Screen()
    for room in (_progress, _progress_line):  # not `sys` itself, whose streams are pytest's while a test runs
        monkeypatch.setattr(room, "sys", types.SimpleNamespace(**vars(sys) | {"stderr": screen}))
    monkeypatch.setenv("TERM", "dumb")
    return screen


def test_closing_a_shown_map_gives_the_rest_up(pool, screen):
    results = pool.map(tasks.nap, [0.001] * 1000, progress=True)
    assert next(results) == 0.001
    results.close()
    pool.shutdown()
    assert pool.statistics().cancelled > 500
    assert re.search(r"1/1000, .*\n", screen.text)


def test_closing_a_shown_map_before_it_is_read_gives_it_up(pool, screen):
    results = pool.map(tasks.nap, [0.001] * 1000, progress=True)
    results.close()
    pool.shutdown()
    assert pool.statistics().cancelled > 500
    assert screen.text == ""


def test_dropping_a_shown_map_in_the_middle_gives_the_rest_up(pool, screen):
    results = pool.map(tasks.nap, [0.001] * 1000, progress=True)
    assert next(results) == 0.001
    del results
    pool.shutdown()
    assert pool.statistics().cancelled > 500


def test_dropping_a_shown_map_unread_runs_it(pool, screen):
    pool.map(tasks.nap, [0.001] * 100, progress=True)
    pool.shutdown()
    assert pool.statistics().returned == 100
    assert screen.text == ""


def test_an_error_passes_through_and_ends_what_is_shown(pool, screen):
    results = pool.map(tasks.invert, [1, 0, 1], progress=True)
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert re.search(r"1/3, .*\n", screen.text)
    assert list(results) == []


def test_a_timeout_passes_through(pool, screen):
    results = pool.map(tasks.nap, [30], progress=True, timeout=0.05)
    with pytest.raises(TimeoutError):
        next(results)
    assert re.search(r"0/1, .*\n", screen.text)
    pool.kill_workers()


def test_a_shown_map_is_an_iterator_that_may_be_read_in_parts(pool, screen):
    results = pool.map(tasks.square, range(6), progress=True)
    assert iter(results) is results
    assert next(results) == 0
    for value in results:
        if value == 4:
            break
    assert list(results) == [9, 16, 25]
    assert re.search(r"6/6, .*\n", screen.text)


def test_what_is_shown_goes_on_and_names_the_engine_of_the_moment(screen):
    engine, go_on = ["threads x8"], threading.Event()

    def results():
        yield 1
        assert go_on.wait(10)
        yield 2

    read = []
    shown = _progress.shown(results(), 2, lambda: engine[0])
    reader = threading.Thread(target=lambda: read.extend(shown))
    reader.start()
    assert until(lambda: "threads x8: 1/2" in screen.text)
    engine[0] = "processes x2"
    assert until(lambda: "processes x2: 1/2" in screen.text)
    go_on.set()
    reader.join(10)
    assert read == [1, 2]
    assert screen.text.endswith("\n")


def test_a_line_that_gets_shorter_leaves_nothing_behind(screen):
    labels = iter(["a long name", "short"])
    journey = _progress.Journey(None, lambda: 0, lambda: next(labels, "short"))
    with _progress_line.bar(journey):
        assert until(lambda: "short" in screen.text)
    first, second, *_ = screen.text.split("\r")[1:]
    assert len(first) == len(second)


def test_a_terminal_that_goes_away_costs_no_result(pool, screen, monkeypatch):
    def fail(_text):
        raise OSError("hung up")

    monkeypatch.setattr(screen, "write", fail)
    assert list(pool.map(tasks.square, range(5), progress=True)) == [0, 1, 4, 9, 16]


@pytest.mark.parametrize(
    ("make", "label"),
    [
        (lambda: whichever.ThreadPool(3), "threads x3"),
        (lambda: whichever.AsyncPool(4), "async x4"),
        (whichever.SerialPool, "serial"),
    ],
)
def test_each_pool_names_its_engine(make, label, screen):
    async def same(item):
        return item

    with make() as pool:
        assert list(pool.map(same if label.startswith("async") else abs, [1, 2], progress=True)) == [1, 2]
    assert f"{label}: 2/2" in screen.text


def test_a_pool_that_chooses_names_what_it_has_chosen(screen):
    with whichever.Pool("threads", 3) as pool:
        assert list(pool.map(abs, [1, 2], progress=True)) == [1, 2]
    assert "threads x3: 2/2" in screen.text
