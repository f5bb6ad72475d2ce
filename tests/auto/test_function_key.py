"""A function's key: the same in every run, another one as soon as the function does something else."""

import functools
import math
import operator
import os
import subprocess
import sys
import textwrap

import pytest

from whichever.auto._function_key import function_key

HEAD = (
    "import functools\ndef traced(fn):\n    def inner(*args):\n        return fn(*args)\n    return inner\n"
)


def made(text, name="task"):
    """Return what a module of this text would hold under `name`."""
    space = {"__name__": "somewhere"}
    exec(compile(HEAD + textwrap.dedent(text), "some file", "exec"), space)
    return space[name]


def key_of(text):
    return function_key(made(text))


SAME = [
    ("def task(x): return x + 1", "\n\n# moved\ndef task(x): return x + 1"),
    ("def task(x, data=[1]): return x", "def task(x, data=[2]): return x"),
    (
        "def make(n):\n    def task(x): return x + n\n    return task\ntask = make(1)",
        "def make(n):\n    def task(x): return x + n\n    return task\ntask = make(2)",
    ),
]
OTHER = [
    ("def task(x): return x + 1", "def task(x): return x + 2"),
    ("def task(x): return x + 1", "def task(x): return x - 1"),
    ("def task(x): return first(x)", "def task(x): return second(x)"),
    ("def task(x): return x.first", "def task(x): return x.second"),
    ("def task(x): return x", "def task(x):\n    yield x"),
    ("def task(x): return x", "async def task(x): return x"),
    ("def task(x, n=1): return x", "def task(x, n=2): return x"),
    ("def task(x, *, n=1): return x", "def task(x, *, n=2): return x"),
    ("def task(x, n=1): return x", "def task(x, n=None): return x"),
    ("def task(x, f=lambda: 1): return x", "def task(x, f=lambda: 2): return x"),
    ("def task(x):\n    return [y + 1 for y in x]", "def task(x):\n    return [y + 2 for y in x]"),
    (
        "def task(x):\n    try: x()\n    except ValueError: pass",
        "def task(x):\n    try: x()\n    except KeyError: pass",
    ),
    ("@traced\ndef task(x): return x + 1", "@traced\ndef task(x): return x + 2"),
    ("@functools.cache\ndef task(x): return x + 1", "@functools.cache\ndef task(x): return x + 2"),
    (
        "def make(n):\n    def task(x): return x + n\n    return task\ntask = make(1)",
        "def make(n):\n    def task(x): return x + n\n    return task\ntask = make('a')",
    ),
    ("task = functools.partial(pow, 2)", "task = functools.partial(pow, 3)"),
    ("task = functools.partial(pow, 2)", "task = functools.partial(divmod, 2)"),
    ("task = functools.partial(print, sep='a')", "task = functools.partial(print, sep='b')"),
    (
        "class A:\n    def run(self, x): return x + 1\ntask = A().run",
        "class A:\n    def run(self, x): return x + 2\ntask = A().run",
    ),
    (
        "class A:\n    def run(self, x): return x\ntask = A().run",
        "class B:\n    def run(self, x): return x\ntask = B().run",
    ),
    (
        "class A:\n    def __call__(self, x): return x + 1\ntask = A()",
        "class A:\n    def __call__(self, x): return x + 2\ntask = A()",
    ),
    (
        "class task:\n    def __init__(self, x): self.x = x",
        "class task:\n    def __init__(self, x): self.x = x + 1",
    ),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_functions_that_do_the_same_have_one_key(one, other):
    assert key_of(one) == key_of(other) is not None


@pytest.mark.parametrize(("one", "other"), OTHER)
def test_functions_that_do_not_have_two(one, other):
    assert key_of(one) is not None
    assert key_of(other) is not None
    assert key_of(one) != key_of(other)


def test_native_functions_are_known_by_their_names():
    fns = [
        math.sqrt,
        math.sin,
        len,
        str.upper,
        "a".join,
        int,
        dict.fromkeys,
        operator.itemgetter(1),
        os.getcwd,
    ]
    keys = [function_key(fn) for fn in fns]
    assert None not in keys
    assert len(set(keys)) == len(fns)
    assert function_key("a".join) == function_key("b".join)


def test_numpy_functions_are_told_apart():
    numpy = pytest.importorskip("numpy")
    keys = {function_key(fn) for fn in (numpy.sin, numpy.cos, numpy.sum, numpy.dot, numpy.linalg.norm)}
    assert len(keys) == 5
    assert None not in keys


class Hostile:
    """Calls native code, and raises when it is asked for anything."""

    __call__ = math.sqrt

    def __getattr__(self, name):
        raise RuntimeError(name)


def test_what_has_no_stable_name_has_no_key():
    assert function_key(Hostile()) is None


def test_a_function_inside_itself_comes_to_an_end():
    def first(x):
        return second(x)

    def second(x):
        return first(x)

    assert function_key(first) == function_key(first) is not None


def test_a_default_that_is_large_or_strange_does_no_harm():
    def task(x, text="a" * 10**6, number=10**6000, nothing=float("nan")):
        return x

    assert function_key(functools.partial(task, 10**6000)) is not None


PROGRAM = """
    import functools, sys
    sys.path.insert(0, sys.argv[1])
    from whichever.auto._function_key import function_key
    def task(x, *, n=3):
        return [y for y in x if y in {"a", "b", "c", None, 1.5}]
    class Model:
        def predict(self, x): return x
    print(*map(function_key, (task, functools.partial(task, n=4), Model().predict, lambda x: x, sorted)))
"""


@pytest.fixture
def run(tmp_path):
    def one(name, seed):
        script = tmp_path / name
        script.write_text(textwrap.dedent(PROGRAM))
        environment = os.environ | {"PYTHONHASHSEED": str(seed)}
        command = [sys.executable, str(script), str(tmp_path)]
        return subprocess.run(
            command, capture_output=True, text=True, check=True, env=environment
        ).stdout.split()

    return one


def test_keys_are_the_same_in_every_run(run):
    keys = run("one.py", 1)
    assert len(set(keys)) == 5
    assert keys == run("one.py", 2) == run("one.py", 3)


def test_functions_of_another_program_are_others(run):
    one, other = run("one.py", 1), run("other.py", 1)
    assert [a == b for a, b in zip(one, other, strict=True)] == [False, False, False, False, True]
