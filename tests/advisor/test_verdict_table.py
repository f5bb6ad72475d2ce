"""The verdict as a person reads it in a terminal."""

import dataclasses
import io
import re
import sys

import pytest
from example_verdicts import (
    EXAMPLES,
    async_wins,
    bare,
    free_threaded,
    processes_win,
    serial_wins_over_payload,
    some_tasks_raised,
)
from rich.console import Console

ESCAPE = re.compile(r"\x1b\[[0-9;]*m")


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


def write_to_a_terminal(monkeypatch, columns=80):
    """Make standard output a terminal; inside the test, since pytest sets it anew after the fixtures."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(sys, "stdout", Terminal())


def line_of(text, word):
    return next(line for line in text.splitlines() if word in line)


@pytest.mark.parametrize(
    ("make", "first_line"),
    [
        (processes_win, "which: processes with 2 workers, 1.9x faster than serial (limit: cores)"),
        (async_wins, "which: async with 100 tasks in flight, 47x faster than serial (limit: wait)"),
        (
            serial_wins_over_payload,
            "which: serial, no engine is faster (threads as fast, processes 9.1x slower)",
        ),
        (bare, "which: serial, no other engine can run this"),
    ],
)
def test_the_first_line_is_the_answer(make, first_line):
    assert str(make()).splitlines()[0] == first_line


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_table_fits_25_lines_of_80_columns(name):
    lines = str(EXAMPLES[name]()).splitlines()
    assert len(lines) <= 25
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_narrow_table_stays_inside_its_width(name):
    text = EXAMPLES[name]().table(width=60)
    assert max(map(len, text.splitlines())) <= 60
    assert "80 % range" not in text


def test_a_verified_row_shows_prediction_interval_measurement_and_limit():
    row = line_of(str(processes_win()), "→").replace("\N{EN DASH}", " to ")
    assert " ".join(row.split()) == "→ processes 2 16.2 s 15.3 to 17.6 s 16.0 s 1.9x faster cores"


def test_a_verified_speedup_is_the_measured_one():
    verdict = processes_win()
    first = dataclasses.replace(verdict.forecasts[0], measured=10.0)
    text = str(dataclasses.replace(verdict, forecasts=(first, *verdict.forecasts[1:])))
    assert "3.0x faster" in line_of(text, "→")


def test_without_measurements_there_is_no_measured_column():
    assert "measured" not in str(free_threaded())


def test_many_worker_counts_are_cut_to_the_best_of_each_engine():
    text = str(async_wins())
    assert [line.split()[1] for line in text.splitlines()[4:7]] == ["async", "32", "1"]
    assert "10 other worker counts are in verdict.forecasts" in text


def test_small_parts_of_the_ledger_are_left_out():
    line = line_of(str(processes_win()), "ledger")
    assert line == "ledger    held 98 % · waiting 0.9 % · queued 0.5 %"


def test_without_a_gil_released_is_called_running():
    assert "running 99 % · queued 1 % (no GIL)" in str(free_threaded())


def test_failures_exclusions_reasons_and_advice_are_there():
    text = some_tasks_raised().table(width=200)
    assert "2 of 7 sampled tasks raised; item 1: ValueError('bad" in text
    assert "excluded  async: <b>no</b>" in text
    assert "</style><img src=x onerror=alert(1)> & [/] \\u202eback" in text
    assert "advice    More cores help: with 8 the forecast is 4.3 s." in text


def test_text_of_the_program_reaches_the_terminal_without_its_control_characters():
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", some_tasks_raised().table(color=False))


def test_more_than_four_reasons_are_counted():
    verdict = dataclasses.replace(processes_win(), reasons=tuple(f"Reason {i}." for i in range(7)))
    text = str(verdict)
    assert "Reason 3." in text
    assert "Reason 4." not in text
    assert "3 more in verdict.reasons" in text


def test_a_fifth_reason_is_shown_where_its_count_would_stand():
    verdict = dataclasses.replace(processes_win(), reasons=tuple(f"Reason {i}." for i in range(5)))
    assert "Reason 4." in str(verdict)


def test_a_terminal_gets_colours_and_its_own_width(monkeypatch):
    without = str(processes_win())
    write_to_a_terminal(monkeypatch, columns=95)
    text = str(processes_win())
    assert ESCAPE.search(text)
    plain = [line.rstrip() for line in ESCAPE.sub("", text).splitlines()]
    assert plain[:9] == without.splitlines()[:9]
    assert 80 < max(map(len, plain)) <= 95


def test_a_very_wide_terminal_gets_lines_that_can_be_read(monkeypatch):
    write_to_a_terminal(monkeypatch, columns=300)
    assert max(len(ESCAPE.sub("", line)) for line in str(processes_win()).splitlines()) <= 100


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_a_terminal_without_colours_gets_plain_text(monkeypatch, name, value):
    write_to_a_terminal(monkeypatch)
    monkeypatch.setenv(name, value)
    assert "\x1b" not in str(processes_win())


def test_a_stream_that_takes_only_ascii_gets_ascii(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    sys.stdout.write(str(dataclasses.replace(processes_win(), name="größe")))
    sys.stdout.flush()
    text = raw.getvalue().decode("ascii")
    assert line_of(text, "15.3-17.6 s").startswith(">  processes")
    assert "gr\\xf6\\xdfe" in text


def test_no_standard_output_is_no_reason_to_fail(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    assert str(bare()).startswith("which: serial")


def test_the_repr_is_one_line_and_does_not_spell_out_the_samples():
    text = repr(serial_wins_over_payload())
    assert text == "<Verdict on sum: serial, no engine is faster (threads as fast, processes 9.1x slower)>"


def test_rich_can_print_a_verdict():
    console = Console(file=io.StringIO(), width=100)
    console.print(processes_win())
    assert "1.9x faster than serial" in console.file.getvalue()


def test_a_slower_engine_that_was_chosen_is_called_slower():
    verdict = dataclasses.replace(processes_win(), speedup=0.5)
    assert str(verdict).startswith("which: processes with 2 workers, 2.0x slower than serial")
