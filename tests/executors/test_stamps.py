"""When a function's pickle may be used again: always, never, or until something it is made of changes."""

import contextvars
import functools
import math
import sys
import types

import pytest

from whichever.executors._stamps import stamp, still_same

PROGRAM = """
import dataclasses, enum, functools, math, re, typing
from collections import namedtuple
FACTOR = 3
TABLE = [1, 2]
PATTERN = re.compile("x")
Row = namedtuple("Row", "left right")
class Kind(enum.Enum):
    ONE = 1
@dataclasses.dataclass
class Point:
    x: int = 0
    names: list = dataclasses.field(default_factory=list)
    def far(self):
        return self.x * FACTOR
class Holder:
    seen = []
def helper(x): return x * FACTOR
def chained(x): return helper(x) + math.sqrt(x)
def itself(x): return itself(x - 1) if x else 0
def listed(x): return TABLE[x]
def pointed(x): return Point(x).far()
def kind(x): return Kind.ONE, Row(x, PATTERN)
def held(x): return Holder
def undefined(x): return later(x)
def nested(x): return [y * FACTOR for y in x], lambda: FACTOR
def with_keyword(x, *, unit=FACTOR): return x * unit
def wrapped(fn):
    @functools.wraps(fn)
    def inner(*args): return fn(*args)
    return inner
wrapped_helper = wrapped(helper)
def counter():
    count = [0]
    return lambda: count
def scaled(by): return lambda x: x * by
"""


@pytest.fixture
def main(monkeypatch):
    module = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", module)
    exec(compile(PROGRAM, "program.py", "exec", dont_inherit=True), vars(module))
    return module


@pytest.mark.parametrize("fn", [len, math.sqrt, functools.reduce, int, dict.fromkeys, stamp])
def test_what_workers_find_by_name_stays_good(fn):
    assert still_same(stamp(fn))


@pytest.mark.parametrize(
    "name",
    [
        "helper",
        "chained",
        "itself",
        "pointed",
        "kind",
        "undefined",
        "nested",
        "with_keyword",
        "wrapped_helper",
    ],
)
def test_what_can_only_change_by_name_has_a_stamp(main, name):
    assert still_same(stamp(getattr(main, name)))


@pytest.mark.parametrize(
    "make", [lambda main: main.listed, lambda main: main.held, lambda main: main.counter()]
)
def test_what_reaches_something_changeable_has_none(main, make):
    assert stamp(make(main)) is None


@pytest.mark.parametrize("fn", [[].append, functools.partial(int), object()])
def test_what_is_no_function_or_class_has_none(fn):
    assert stamp(fn) is None


def set_attribute(path, value):
    def change(main):
        *owners, last = path.split(".")
        setattr(functools.reduce(getattr, owners, main), last, value)

    return change


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("helper", set_attribute("FACTOR", 4)),
        ("helper", lambda main: delattr(main, "FACTOR")),
        ("helper", set_attribute("helper.__code__", (lambda x: x).__code__)),
        ("helper", set_attribute("helper.__defaults__", (1,))),
        ("helper", set_attribute("helper.note", "new")),
        ("chained", set_attribute("FACTOR", 4)),
        ("chained", set_attribute("helper", len)),
        ("nested", set_attribute("FACTOR", 4)),
        ("undefined", set_attribute("later", len)),
        ("with_keyword", lambda main: main.with_keyword.__kwdefaults__.update(unit=9)),
        ("wrapped_helper", set_attribute("FACTOR", 4)),
        ("pointed", set_attribute("FACTOR", 4)),
        ("pointed", set_attribute("Point.far", lambda self: 0)),
        ("pointed", set_attribute("Point.extra", 1)),
        ("kind", set_attribute("PATTERN", None)),
    ],
)
def test_a_change_spoils_the_stamp(main, name, change):
    fn = getattr(main, name)
    before = stamp(fn)
    assert still_same(before)
    change(main)
    assert not still_same(before)


def test_a_closure_is_good_until_its_variable_changes(main):
    fn = main.scaled(3)
    before = stamp(fn)
    assert still_same(before)
    fn.__closure__[0].cell_contents = 4
    assert not still_same(before)
    del fn.__closure__[0].cell_contents
    assert not still_same(before)


def test_a_module_whose_code_is_running_goes_by_value():
    before = stamp(stamp, (stamp.__module__,))
    assert before is None or before.functions
    assert not still_same(stamp(len), ("some_module",))


def test_a_context_variable_counts_as_its_name(main):
    main.variable = contextvars.ContextVar("variable")
    exec("def read(): return variable.get()", vars(main))
    assert still_same(stamp(main.read))
