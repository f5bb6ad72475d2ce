"""Which functions and arguments are found unable to cross into another process, and what is said of them."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
import threading

import pytest

from whichever.advisor._effects import exclusions_before
from whichever.advisor._pickling import why_not_picklable


class Refusing:
    def __reduce__(self):
        message = "not today"
        raise ValueError(message)


class Outer:
    def __init__(self):
        self.inner = [Refusing()]


class Holder:
    def __init__(self):
        self.parts = {"lock": threading.Lock()}


class Careful:
    """Leaves its lock at home."""

    def __init__(self):
        self.lock = threading.Lock()

    def __getstate__(self):
        return {}

    def run(self, item):
        return item


def test_what_pickles_has_nothing_said_of_it():
    assert why_not_picklable({"a": [1, 2]}) is None
    assert why_not_picklable(lambda x: x) is None
    assert exclusions_before(str, 1) == {"async": "is not a coroutine function"}


def test_a_lambda_with_what_it_closes_over_crosses_by_cloudpickle():
    offset = 3
    assert "processes" not in exclusions_before(lambda x: x + offset, 1)


def test_an_object_that_refuses_is_named_by_its_type():
    assert "not today" in why_not_picklable(Refusing())
    assert re.search(r"holds a `.*Refusing` \(ValueError: not today\)", why_not_picklable(Outer()))


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ((i for i in "ab"), "its argument is a generator"),
        (iter([1]), "its argument is an iterator"),
        (threading.Lock(), "its argument is a lock"),
        (Holder(), "its argument holds the lock `argument.parts['lock']`"),
        (Outer(), "its argument does not pickle: it holds a"),
        (sys._getframe(), "its argument does not pickle"),
    ],
)
def test_an_argument_that_cannot_cross_is_named(item, words):
    excluded = exclusions_before(id, item)
    assert words in excluded["processes"]
    assert words in excluded["interpreters"]
    assert "threads" not in excluded


def test_an_open_file_as_an_argument_is_named(tmp_path):
    path = tmp_path / "text"
    path.write_text("text")
    with path.open() as text:
        assert exclusions_before(id, text)["processes"] == "its argument is an open file"


def test_an_object_that_says_itself_what_crosses_is_believed():
    assert "processes" not in exclusions_before(id, Careful())
    assert "processes" not in exclusions_before(Careful().run, 1)


def test_an_argument_nested_too_deeply_is_told():
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    assert exclusions_before(id, deep)["processes"] == "its argument is nested too deeply to pickle"
    while deep:
        deep = deep.pop()


def test_functions_of_a_script_are_judged_as_they_will_be_sent():
    script = """
        import threading
        from whichever.advisor._effects import exclusions_before
        def plain(x):
            return helper(x)
        def helper(x):
            return x
        class Local:
            lock = threading.Lock()
        def holds(x):
            return Local, x
        print(exclusions_before(plain, 1).get("processes"))
        print(exclusions_before(holds, 1).get("processes"))
    """
    done = subprocess.run(
        [sys.executable, "-"],
        input=textwrap.dedent(script),
        text=True,
        capture_output=True,
        check=True,
        timeout=60,
    )
    first, second = done.stdout.splitlines()
    assert first == "None"
    assert second.startswith("does not pickle: it holds a `_thread.lock`")
