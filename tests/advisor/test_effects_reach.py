"""What a function is seen to reach before it runs."""

from __future__ import annotations

import decimal
import functools
import itertools
import queue
import random
import socket
import sqlite3
import sys
import threading
import types

import pytest

from whichever.advisor._effects import exclusions_before, inspect_function

total = 0
model = None
best = None
lock = threading.Lock()
jobs = queue.Queue()
connection = sqlite3.connect(":memory:", check_same_thread=False)
ids = itertools.count()
generator = random.Random(1)
HANDLERS = {}


@pytest.fixture(scope="module", autouse=True)
def _closed_connection():
    yield
    connection.close()


def count(item):
    global total
    total += item


def forget(item):
    global total
    del total


def count_through_a_helper(item):
    return count(item)


def count_deep_inside(item):
    def inner():
        return [count(i) for i in range(item)]

    return inner


def load_model(item):
    global model
    if model is None:
        model = [item]
    return model


def keep_the_best(item):
    global best
    if best is None or item > best:
        best = item


def nested_total(item):
    inside = 0

    def add():
        nonlocal inside
        inside += item

    add()
    return inside


def assert_excludes_copies(fn, item, words):
    excluded = exclusions_before(fn, item)
    assert words in excluded["processes"]
    assert excluded["interpreters"] == excluded["processes"]
    assert "threads" not in excluded
    assert "serial" not in excluded


def assert_allows_copies(fn, item):
    assert exclusions_before(fn, item) == {"async": "is not a coroutine function"}


def test_a_written_global_excludes_engines_that_copy():
    assert_excludes_copies(count, 1, "writes the global `total`")


def test_a_deleted_global_is_a_written_one():
    assert_excludes_copies(forget, 1, "writes the global `total`")


def test_a_helper_that_writes_a_global_counts_for_its_caller():
    assert_excludes_copies(count_through_a_helper, 1, "writes the global `total`")
    assert "count" in inspect_function(count_through_a_helper).functions


def test_a_helper_called_in_a_nested_function_is_found():
    assert_excludes_copies(count_deep_inside, 1, "writes the global `total`")


def test_a_lambda_is_looked_into():
    assert_excludes_copies(lambda item: count(item), 1, "writes the global `total`")


def test_a_decorated_function_is_looked_into():
    @functools.wraps(count)
    def wrapper(*args):
        return undecorated(*args)

    undecorated = count
    assert_excludes_copies(wrapper, 1, "writes the global `total`")


def test_a_function_behind_a_library_decorator_is_looked_into():
    assert_excludes_copies(functools.lru_cache(count), 1, "writes the global `total`")


def test_a_partial_is_looked_into():
    assert_excludes_copies(functools.partial(functools.partial(count)), 1, "writes the global `total`")


def test_a_function_in_a_table_counts_as_called():
    HANDLERS["count"] = count
    assert_excludes_copies(lambda item: HANDLERS["count"](item), 1, "writes the global `total`")


def test_a_function_passed_as_a_default_is_looked_into():
    def fold(item, step=count):
        return step(item)

    assert_excludes_copies(fold, 1, "writes the global `total`")


def test_an_imported_users_function_is_looked_into(monkeypatch):
    module = types.ModuleType("helpers_of_the_user")
    exec("state = 0\ndef bump(x):\n    global state\n    state += x\n", module.__dict__)
    monkeypatch.setitem(sys.modules, module.__name__, module)

    def imports_a_name(item):
        from helpers_of_the_user import bump

        return bump(item)

    def imports_a_module(item):
        import helpers_of_the_user as helpers

        return helpers.bump(item)

    for fn in (imports_a_name, imports_a_module, lambda item: module.bump(item)):
        assert_excludes_copies(fn, 1, "writes the global `helpers_of_the_user.state`")
    assert "helpers_of_the_user" in inspect_function(imports_a_module).modules


class Counter:
    seen = 0

    def __init__(self, value=0):
        self.value = value

    def __call__(self, item):
        return self.bump(item)

    def bump(self, item):
        return count(item)

    @staticmethod
    def bump_alone(item):
        return count(item)

    @classmethod
    def bump_class(cls, item):
        return cls.bump_alone(item)

    @property
    def bumped(self):
        return count(1)

    def run(self):
        return count(1)


class Derived(Counter):
    def bump(self, item):
        return super().bump(item)


a_counter = Counter()


@pytest.mark.parametrize(
    "fn",
    [
        Counter(),
        Counter().bump,
        Counter.bump_class,
        Derived(),
        Derived().bump,
        lambda item: a_counter.bump(item),
        lambda item: a_counter.bumped,
        lambda item: Counter.bump_alone(item),
        lambda item: a_counter(item),
    ],
)
def test_methods_of_known_objects_are_looked_into(fn):
    assert_excludes_copies(fn, 1, "writes the global `total`")


def test_methods_of_the_item_are_looked_into():
    assert_excludes_copies(lambda item: item.run(), Counter(), "writes the global `total`")


def test_a_constructor_is_looked_into():
    class Made:
        def __init__(self, item):
            count(item)

    assert "writes the global `total`" in inspect_function(lambda item: Made(item)).writes


def test_a_closure_counter_is_a_written_nonlocal():
    calls = 0

    def tick(item):
        nonlocal calls
        calls += item

    assert_excludes_copies(tick, 1, "writes the nonlocal `calls`")


def test_a_nonlocal_of_the_functions_own_is_nobody_elses_business():
    assert_allows_copies(nested_total, 1)


def test_a_global_set_only_while_none_is_a_note():
    assert_allows_copies(load_model, 1)
    assert "each worker process sets the global `model` for itself" in inspect_function(load_model).notes()


def test_a_global_that_keeps_the_best_is_written():
    assert_excludes_copies(keep_the_best, 1, "writes the global `best`")


def test_a_lock_of_the_module_excludes_copies():
    def guarded(item):
        with lock:
            return item

    assert_excludes_copies(guarded, 1, "uses the lock `lock`")
    assert inspect_function(guarded).locks


def test_a_closed_over_lock_is_named():
    guard = threading.RLock()

    def guarded(item):
        with guard:
            return item

    assert_excludes_copies(guarded, 1, "closes over the lock `guard`")


def test_a_lock_in_a_bound_object_is_named():
    class Service:
        def __init__(self):
            self.guards = [threading.Lock()]

        def run(self, item):
            return item

    assert_excludes_copies(Service().run, 1, "belongs to an object that holds the lock `self.guards[0]`")


def test_a_closed_over_open_file_is_named_though_cloudpickle_takes_it(tmp_path):
    path = tmp_path / "lines.txt"
    path.write_text("one\n")
    with path.open() as lines:
        assert_excludes_copies(lambda item: lines.readline(), 1, "closes over the open file `lines`")


def test_a_socket_as_a_default_argument_is_named():
    with socket.socket() as peer:

        def send(item, to=peer):
            return to.send(item)

        assert_excludes_copies(send, b"", "has the socket `to` as a default argument")


def test_a_bound_socket_of_a_partial_is_named():
    with socket.socket() as peer:
        assert_excludes_copies(functools.partial(max, peer), 1, "is bound to the socket `argument 0`")


def test_a_generator_in_the_closure_is_named():
    numbers = (i for i in range(3))
    assert_excludes_copies(lambda item: next(numbers), 1, "closes over the generator `numbers`")


def test_queue_connection_and_iterator_of_the_module_are_named():
    assert_excludes_copies(lambda item: jobs.put(item), 1, "uses the queue `jobs`")
    assert_excludes_copies(
        lambda item: connection.execute(item), "", "uses the database connection `connection`"
    )
    assert_excludes_copies(lambda item: next(ids), 1, "uses the iterator `ids`")


def test_printing_and_standard_streams_are_fine():
    stream = sys.stdout

    def say(item):
        print(item, file=stream)

    assert inspect_function(say).resources == ()


def test_a_random_generator_is_a_note():
    def draw(item):
        return generator.random()

    assert_allows_copies(draw, 1)
    notes = inspect_function(draw).notes()
    assert notes == ("each worker process draws from its own copy of the random generator `generator`",)


@functools.lru_cache
def remembered(item):
    return item


def test_an_lru_cache_is_a_note():
    def look_up(item):
        return remembered(item)

    assert_allows_copies(look_up, 1)
    assert "each worker process has its own lru_cache of `remembered`" in inspect_function(look_up).notes()


@pytest.mark.parametrize(
    "fn", [len, abs, str.upper, "abc".__contains__, sys.getsizeof, int, functools.partial(max, 2)]
)
def test_builtins_have_nothing_to_inspect(fn):
    assert_allows_copies(fn, "a")
    assert inspect_function(fn).writes == ()


async def fetch(item):
    return count(item)


class AsyncCallable:
    async def __call__(self, item):
        return item

    async def method(self, item):
        return item


@pytest.mark.parametrize("fn", [fetch, functools.partial(fetch), AsyncCallable(), AsyncCallable().method])
def test_a_coroutine_function_belongs_to_the_event_loop(fn):
    assert inspect_function(fn).kind == "coroutine"
    excluded = exclusions_before(fn, 1)
    assert set(excluded) == {"threads", "processes", "interpreters"}
    assert set(excluded.values()) == {"is a coroutine function: a coroutine belongs to one event loop"}


def make_numbers(item):
    yield item


def test_a_generator_function_is_told_from_one_that_runs():
    assert_excludes_copies(make_numbers, 1, "is a generator function")
    assert "calling it only makes a generator" in inspect_function(make_numbers).notes()[0]


def test_modules_of_all_reached_code_are_listed_for_loading_ahead():
    def work(item):
        import zlib

        return zlib.crc32(sqlite3.version_info), functools.reduce(count, item)

    modules = inspect_function(work).modules
    assert {"zlib", "sqlite3", "functools", __name__} <= set(modules)
    assert "builtins" not in modules
    assert "decimal" in inspect_function(str, decimal.Decimal(1)).modules
    assert "decimal" in inspect_function(functools.partial(max, [decimal.Decimal(1)])).modules


def test_recursive_functions_and_data_come_to_an_end():
    loop: list = []
    loop.append(loop)

    def again(item):
        return again(loop)

    assert inspect_function(again).complete


def test_reading_runs_no_property_and_no_module_getattr():
    class Trap:
        @property
        def secret(self):
            raise AssertionError

        def __getattr__(self, name):
            raise AssertionError

    trap = Trap()
    module = types.ModuleType("trap_module")
    module.__getattr__ = trap.__getattr__
    inspect_function(lambda item: (trap.secret, trap.unknown, module.unknown))


def test_a_chain_of_functions_longer_than_the_bound_is_said_to_be_incomplete():
    functions: dict = {}
    for number in range(400):
        exec(f"def f{number}(x): return f{number + 1}(x)", functions)
    reach = inspect_function(functions["f0"])
    assert not reach.complete
