"""The page and the notebook's fragment: every figure is there, and nothing of the user's can break out."""

import dataclasses
import re
from html.parser import HTMLParser

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

from whichever.advisor._report import fragment, page

DASH = "\N{EN DASH}"
VOID = {"meta", "br", "img", "link", "input"}


class Outline(HTMLParser):
    """Reads a page as a browser does: its text, its elements, and whether every tag is closed."""

    def __init__(self, html):
        super().__init__()
        self.open, self.seen, self.attributes, self.words = [], [], [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.seen.append(tag)
        self.attributes += attributes
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.seen.append(tag)
        self.attributes += attributes

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        if self.open and self.open[-1] != "style":
            self.words.append(text)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


@pytest.mark.parametrize("view", [page, fragment])
@pytest.mark.parametrize("name", EXAMPLES)
def test_every_tag_is_closed(name, view):
    assert Outline(view(EXAMPLES[name]())).open == []


@pytest.mark.parametrize("view", [page, fragment])
def test_the_answer_and_every_forecast_are_in_words(view):
    text = Outline(view(processes_win())).text
    assert "processes with 2 workers, 1.9x faster than serial (limit: cores)" in text
    for figure in (
        "16.2 s",
        f"15.3{DASH}17.6 s",
        "16.0 s",
        "30.4 s",
        "31.0 s",
        "31.3 s",
        "1.1x slower",
        "baseline",
    ):
        assert figure in text


@pytest.mark.parametrize("view", [page, fragment])
def test_every_part_of_the_ledger_is_in_words(view):
    text = Outline(view(async_wins())).text
    for figure in (
        "held",
        "1.10 ms",
        "2 %",
        "blocked: network",
        "48.8 ms",
        "95 %",
        "blocked: poll",
        "1.20 ms",
    ):
        assert figure in text


def test_the_page_has_reasons_advice_exclusions_and_machine():
    text = Outline(page(processes_win())).text
    assert "Processes have a GIL each" in text
    assert "More cores help: with 8 the forecast is 4.3 s." in text
    assert "interpreters needs Python 3.14" in text
    assert "usable cores 2" in text
    assert "starts: processes 0.59" in text
    assert "engines serial, threads, processes" in text
    assert "container unknown" in text


@pytest.mark.parametrize("view", [page, fragment])
def test_texts_of_the_program_stay_texts(view):
    html = view(some_tasks_raised())
    outline = Outline(html)
    assert not {"script", "img"} & set(outline.seen)
    assert "<b>no</b>" in outline.text
    assert "</style><img src=x onerror=alert(1)> & [/] \\u202eback" in outline.text
    assert "<lambda>" in outline.text
    assert not [name for name, _ in outline.attributes if name.startswith("on")]
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202e\ud800-\udfff]", html)


def test_a_thread_named_like_a_tag_stays_a_name():
    verdict = processes_win()
    spans = tuple(dataclasses.replace(span, thread="</text><script>x") for span in verdict.timeline)
    outline = Outline(page(dataclasses.replace(verdict, timeline=spans)))
    assert "script" not in outline.seen
    assert "</text><script>x" in outline.text


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_page_asks_for_nothing_from_the_network(name):
    outline = Outline(page(EXAMPLES[name]()))
    assert not {"script", "link", "img", "iframe", "object"} & set(outline.seen)
    assert not [name for name, _ in outline.attributes if name in ("src", "href", "xlink:href", "srcset")]
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    assert ("content", policy) in outline.attributes
    assert "@import" not in page(bare())
    assert not re.search(r"url\((?!#)", page(bare()))


def test_every_figure_has_a_title_and_a_description():
    html = page(processes_win())
    for figure in ("ledger", "forecasts", "timeline"):
        assert f'id="{figure}"' in html
        assert f'aria-labelledby="{figure}-title {figure}-desc"' in html
        assert re.search(rf'<title id="{figure}-title">[^<]+<', html)
        assert re.search(rf'<desc id="{figure}-desc">[^<]+<', html)


def test_every_id_is_used_once():
    identities = [value for name, value in Outline(page(processes_win())).attributes if name == "id"]
    assert len(identities) == len(set(identities))


def test_without_samples_of_the_gil_there_is_no_timeline():
    assert 'id="timeline"' not in page(serial_wins_over_payload())


def test_without_a_gil_the_page_does_not_speak_of_its_holder():
    text = Outline(page(free_threaded())).text
    assert "Who held the GIL" not in text
    assert "What the threads did during the samples" in text
    assert "running" in text
    assert "Not known here: the GIL holder: no GIL" in text


def test_the_chosen_engine_is_marked_in_words():
    assert Outline(page(processes_win())).text.count("(chosen)") == 1


def test_every_forecast_has_a_mark_with_its_figures():
    html = page(async_wins())
    titles = re.findall(r"<g><title>([^<]*)</title>", html)
    assert len(titles) == len(async_wins().forecasts)
    assert f"async with 100 tasks in flight: predicted 108 ms (102{DASH}118 ms)" in titles


def test_a_notebook_shows_the_fragment_and_ipython_the_table():
    class Printer:
        def text(self, text):
            self.given = text

    verdict, printer = processes_win(), Printer()
    verdict._repr_pretty_(printer, cycle=False)
    assert printer.given == str(verdict)
    assert verdict._repr_html_() == fragment(verdict)
    assert "<html" not in verdict._repr_html_()
