"""The progress line: written over on a terminal, silent elsewhere."""

import io

from whichever.cli.streams import ProgressLine


class Terminal(io.StringIO):
    def isatty(self):
        return True

    def shown(self):
        """What is left to see of the last line."""
        cells = []
        at = 0
        for character in self.getvalue().rsplit("\n", 1)[-1]:
            if character == "\r":
                at = 0
                continue
            cells[at : at + 1] = [character]
            at += 1
        return "".join(cells).rstrip()


def test_a_shorter_text_leaves_nothing_of_the_longer_one_before_it():
    terminal = Terminal()
    line = ProgressLine(terminal)
    line.say("sampling the first items")
    line.say("done")
    assert terminal.shown() == "done"


def test_the_line_is_empty_once_the_block_is_left():
    terminal = Terminal()
    with ProgressLine(terminal) as line:
        line.say("sampling")
        assert terminal.shown() == "sampling"
    assert terminal.shown() == ""


def test_a_text_wider_than_the_terminal_is_cut(monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    terminal = Terminal()
    ProgressLine(terminal).say("a text of more than twenty letters")
    assert terminal.shown() == "a text of more tha…"


def test_elsewhere_only_what_is_kept_is_written():
    stream = io.StringIO()
    with ProgressLine(stream) as line:
        line.behind("[1/2] ")("sampling")
        line.keep("[1/2] done")
    assert stream.getvalue() == "[1/2] done\n"
