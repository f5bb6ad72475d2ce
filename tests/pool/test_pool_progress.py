"""`map(progress=True)`: shown on a terminal, silent elsewhere; and the results are the same."""

import os
import pty
import subprocess
import sys
import textwrap
import types

import pool_tasks as tasks
import pytest

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


def test_nothing_is_shown_where_standard_error_is_no_terminal(start):
    assert start(TEXT).finish() == ("249500\n380\n6\n", "", 0)


def test_a_bar_with_the_number_of_tasks_is_shown_on_a_terminal(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(TEXT))
    ours, theirs = pty.openpty()
    program = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=theirs, text=True, cwd=tmp_path,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "100"},
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
    assert (out, program.returncode) == ("249500\n380\n6\n", 0)
    assert b"500/500" in shown
    assert b"20/?" in shown
    assert b"/s" in shown


def test_tqdm_is_used_where_the_program_uses_it(pool, monkeypatch):
    calls = []

    def bar(results, **how):
        calls.append(how)
        return results

    module = types.ModuleType("tqdm")
    module.tqdm = bar
    monkeypatch.setitem(sys.modules, "tqdm", module)
    assert list(pool.map(tasks.square, range(5), progress=True)) == [0, 1, 4, 9, 16]
    assert list(pool.map(tasks.square, iter(range(2)), progress=True)) == [0, 1]
    assert [how["total"] for how in calls] == [5, None]


def test_closing_a_shown_map_gives_the_rest_up(pool):
    results = pool.map(tasks.nap, [0.001] * 1000, progress=True)
    assert next(results) == 0.001
    results.close()
    pool.shutdown()
    assert pool.statistics().cancelled > 500


def test_an_error_passes_through_the_bar(pool):
    results = pool.map(tasks.invert, [1, 0], progress=True)
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)
