"""What a sampled call is seen to change, and what is no change."""
# ruff: noqa: B006 -- the functions under test do what users' functions do

from __future__ import annotations

import collections
import copy
import dataclasses
import decimal
import functools
import logging
import os
import random
import re
import sys
import threading
import time
import types
import warnings

import pytest

from whichever.advisor._effects import Watch, inspect_function

results = []
memo = {}
latest = {}
model = None
table = None
context = decimal.Context(prec=20)
log = logging.getLogger("effects of a test")


class Config:
    count = 0
    level = 0


settings = Config()


@pytest.fixture(autouse=True)
def _fresh_state():
    global model, table
    results.clear()
    memo.clear()
    latest.clear()
    model = table = None
    Config.count = 0
    settings.__dict__.clear()


def watched(fn, *items):
    watch = Watch(fn, inspect_function(fn, items[0]))
    for item in items:
        watch.before(item)
        fn(item)
        watch.after(item)
    assert watch.checked == len(items)
    return watch


def assert_changes(fn, item, words):
    excluded = watched(fn, item).exclusions()
    assert set(excluded) == {"interpreters", "processes"}
    assert words in excluded["processes"]


def assert_changes_nothing(fn, *items):
    watch = watched(fn, *items)
    assert watch.exclusions() == {}
    return watch


@dataclasses.dataclass
class Job:
    number: int
    done: bool = False
    tags: list = dataclasses.field(default_factory=list)


def finish(job):
    job.done = True


def tag(job):
    job.tags.append("seen")


@dataclasses.dataclass(slots=True)
class SlottedJob:
    done: bool = False


@pytest.mark.parametrize(
    ("fn", "item"),
    [
        (finish, Job(1)),
        (tag, Job(1)),
        (finish, SlottedJob()),
        (list.sort, [3, 1, 2]),
        (list.pop, [1]),
        (dict.clear, {"a": 1}),
        (set.pop, {1, 2}),
        (bytearray.clear, bytearray(b"abc")),
        (collections.deque.popleft, collections.deque([1, 2])),
        (collections.Counter.update, collections.Counter()),
        (lambda item: item[0].append(1), ([], "in a tuple")),
        (lambda item: item.update(a=1.0), {"a": 1}),
        (lambda item: item.update(a=True), {"a": 1}),
    ],
)
def test_a_changed_argument_excludes_engines_that_copy(fn, item):
    if fn is collections.Counter.update:
        fn = lambda counter: counter.update("abc")  # noqa: E731 -- needs the text as well
    assert_changes(fn, copy.deepcopy(item), "changes its argument")


def test_an_array_written_in_place_is_seen():
    numpy = pytest.importorskip("numpy")

    def double(array):
        array *= 2

    assert_changes(double, numpy.ones(1000), "changes its argument")
    assert_changes(double, numpy.ones((1000, 4))[::2, 1:3], "changes its argument")
    assert_changes(double, {"inside": numpy.ones(3)}["inside"], "changes its argument")
    assert_changes_nothing(lambda array: array * 2, numpy.ones(1000))


def test_a_huge_array_is_sampled_in_bounded_time_and_the_doubt_is_told():
    numpy = pytest.importorskip("numpy")
    array = numpy.zeros(200 << 17)
    started = time.perf_counter()
    watch = assert_changes_nothing(len, array)
    assert time.perf_counter() - started < 2
    assert "its argument is too large to compare as a whole: a part of it was" in watch.notes()
    assert_changes(lambda a: a.fill(1), array, "changes its argument")


def test_a_frame_written_in_place_is_seen():
    pandas = pytest.importorskip("pandas")

    def add_column(frame):
        frame["double"] = frame["a"] * 2

    assert_changes(add_column, pandas.DataFrame({"a": [1, 2]}), "changes its argument")
    assert_changes_nothing(lambda frame: frame.sum(), pandas.DataFrame({"a": [1, 2]}))


def test_a_long_list_is_read_in_part_and_its_end_is_seen_too():
    numbers = ["x" * 100_000] * 1000
    assert_changes(lambda item: item.append("more"), numbers, "changes its argument")
    assert_changes(lambda item: item.__setitem__(-1, "other"), numbers, "changes its argument")
    assert_changes(lambda item: item.insert(0, "first"), numbers, "changes its argument")
    watch = assert_changes_nothing(len, numbers)
    assert any("too large to compare" in note for note in watch.notes())


def test_a_structure_that_contains_itself_is_compared():
    ring: list = [1, []]
    ring[1].append(ring)
    assert_changes_nothing(len, ring)
    assert_changes(lambda item: item[1].append(2), ring, "changes its argument")


def test_a_deeply_nested_structure_does_no_harm():
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    watched(len, deep)
    while deep:
        deep = deep.pop()


class Unruly:
    """Raises from everything that a comparison might use."""

    def __init__(self):
        self.value = 0

    def __eq__(self, other):
        raise RuntimeError

    def __repr__(self):
        raise RuntimeError

    def __bool__(self):
        raise RuntimeError

    __hash__ = None


class Unpicklable:
    def __init__(self):
        self.value = 0

    def __reduce_ex__(self, protocol):
        raise SystemError


def set_value(item):
    item.value = 1


def test_objects_that_raise_when_compared_are_compared_all_the_same():
    assert_changes_nothing(id, Unruly())
    assert_changes(set_value, Unruly(), "changes its argument")


def test_an_object_whose_pickling_raises_does_no_harm():
    watch = watched(id, Unpicklable())
    assert watch.exclusions() == {}


def test_a_lock_and_a_lambda_inside_do_not_hide_the_rest():
    item = {"lock": threading.Lock(), "key": lambda: 1, "n": 0}
    assert_changes_nothing(len, item)
    assert_changes(lambda i: i.update(n=1), item, "changes its argument")


def append_result(item):
    results.append(item)


def bump_class(item):
    Config.count += 1


def set_setting(item):
    settings.level = item


def remember(item):
    if item not in memo:
        memo[item] = item * 2
    return memo[item]


def collect(item, seen=[]):
    seen.append(item)


def note_call(item):
    note_call.calls = item


class Service:
    def __init__(self):
        self.state = 0
        self.log = []

    def run(self, item):
        self.state += item

    def add(self, item):
        self.log.append(item)

    def invent(self, item):
        self.extra = item

    def __call__(self, item):
        self.add(item)


class Registry(dict):
    def run(self, item):
        self[item] = item


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (append_result, "writes the global `results`"),
        (results.append, "writes `list.append`, which it is bound to"),
        (bump_class, "writes the class attribute `Config.count`"),
        (set_setting, "writes the global `settings`"),
        (remember, "writes the global `memo`"),
        (lambda item: globals().update(latest=item), "writes the global `latest`"),
        (collect, "writes the default argument `seen`"),
        (note_call, "writes attributes of the function `note_call`"),
        (Service().run, "writes the attribute `self.state`"),
        (Service().add, "writes the attribute `self.log`"),
        (Service().invent, "writes attributes of its object"),
        (Service(), "writes the attribute `self.log`"),
        (Registry().run, "writes its object, a `Registry`"),
        (
            functools.partial(lambda out, item: out.append(item), []),
            "writes `argument 0`, which it is bound to",
        ),
        (lambda item: os.environ.__setitem__("WHICHEVER_TEST", str(item)), "writes `os.environ`"),
    ],
)
def test_written_state_excludes_engines_that_copy(fn, words, monkeypatch):
    monkeypatch.setenv("WHICHEVER_TEST", "0")
    if words.endswith("`latest`"):
        fn = _names_latest
    assert_changes(fn, 1, words)


def _names_latest(item):
    globals().update(latest={"item": item})
    return latest


def test_an_attribute_set_on_a_users_module_is_named(monkeypatch):
    module = types.ModuleType("settings_of_the_user")
    module.level = 0
    monkeypatch.setitem(sys.modules, module.__name__, module)

    def set_level(item):
        module.level += item

    assert_changes(set_level, 1, "writes the global `settings_of_the_user.level`")


def test_a_closed_over_list_is_named():
    found = []
    assert_changes(lambda item: found.append(item), 1, "writes the closed-over `found`")


def test_a_change_of_directory_is_seen(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "inner").mkdir()
    assert_changes(os.chdir, "inner", "changes the working directory")


def test_written_state_is_a_race_for_threads_unless_a_lock_is_reached():
    assert (
        "threads will race on the global `results`: guard it with a lock" in watched(append_result, 1).notes()
    )
    guard = threading.Lock()

    def guarded(item):
        with guard:
            results.append(item)

    assert watched(guarded, 1).notes() == ()


def load_model(item):
    global model
    if model is None:
        model = ["loaded"]
    return model


def fill_table(item):
    global table
    if table is None:
        table = {}
    table[item] = item


def test_a_global_set_once_is_no_change():
    assert_changes_nothing(load_model, 1, 2)


def test_a_global_set_once_and_filled_further_is_a_change():
    assert "writes the global `table`" in watched(fill_table, 1, 2).exclusions()["processes"]


class Circle:
    def __init__(self):
        self.radius = 1
        self.name = "circle"

    @functools.cached_property
    def area(self):
        return 3 * self.radius


class Draw:
    def __init__(self, circle):
        self.circle = circle

    @functools.cached_property
    def scale(self):
        return 2

    def run(self, item):
        return self.scale * self.circle.area * item


def rename(circle):
    circle.name = circle.name[:3] + circle.name[3:]


def reorder(item):
    item["set"].discard(0)
    item["set"].add(0)
    item["dict"]["a"] = item["dict"].pop("a")


@functools.lru_cache
def squared(item):
    return item * item


def warn_and_log(item):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.warn("one", stacklevel=1)
    log.debug("done")
    random.random()
    context.sqrt(decimal.Decimal(item + 1))  # raises the flags of the context
    return re.sub("a", "b", str(item)), squared(item)


def test_what_a_cached_property_stores_is_no_change():
    assert_changes_nothing(lambda circle: circle.area, Circle())
    assert_changes_nothing(Draw(Circle()).run, 1, 2)


def test_an_equal_value_in_place_of_another_is_no_change():
    assert_changes_nothing(rename, Circle())


def test_the_order_of_sets_and_dicts_is_no_change():
    numpy = pytest.importorskip("numpy")
    item = {"set": set(range(-50, 50, 7)) | {0, 8, 16}, "dict": {"a": Circle(), "b": float("nan")}}
    assert_changes_nothing(reorder, item)
    assert_changes_nothing(reorder, {**item, "array": numpy.ones(5)})


def test_caches_random_numbers_warnings_and_logs_are_no_change():
    watch = assert_changes_nothing(warn_and_log, 1, 2)
    assert "each worker process has its own lru_cache of `squared`" in watch.notes()


def test_comparing_stops_at_its_budget_and_says_so():
    watch = Watch(len, inspect_function(len), budget=1e-9)
    for item in ([1], [2], [3]):
        watch.before(item)
        watch.after(item)
    assert watch.checked == 1
    assert watch.passed_over == 2
    assert "state was compared around the first 1 calls only" in watch.notes()


def test_a_call_that_raised_leaves_the_next_comparison_whole():
    watch = Watch(append_result, inspect_function(append_result))
    watch.before([1])
    watch.before([2])
    append_result(2)
    watch.after([3])
    assert watch.exclusions() == {}


def test_small_items_cost_well_under_a_millisecond():
    watch = Watch(remember, inspect_function(remember), budget=10)
    started = time.perf_counter()
    for item in range(100):
        watch.before(item)
        watch.after(item)
    assert (time.perf_counter() - started) / 100 < 0.005
