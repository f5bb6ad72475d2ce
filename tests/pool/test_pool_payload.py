"""Whatever a program has can be sent: code of every kind, arrays without copies, large and odd values."""

import collections
import dataclasses
import datetime as dt
import decimal
import enum
import functools
import os
import pickle

import numpy as np
import pool_tasks as tasks
import pytest

MIB = 1 << 20


class Colour(enum.Enum):
    RED = 1


@dataclasses.dataclass
class Point:
    x: int
    y: int

    def moved(self, by):
        return dataclasses.replace(self, x=self.x + by)


def both_ways(pool, value):
    """Send a value to a worker and back."""
    return pool.submit(tasks.same, value).result()


@pytest.mark.parametrize(
    "value",
    [
        None, True, 0, -1, 2**63 - 1, -(2**63), 2**64, 10**400, -(10**400), 0.0, -0.0, 1e308, float("inf"), 3 + 4j,
        "", "a", "ß€\U0001f600", "\ud800", "\x00", b"", b"\x00\xff", bytearray(b"abc"), (), [], {}, set(),
        frozenset({1}), (1, (2, (3, [4, {"five": {6}}]))), range(5), slice(1, None, 2), Ellipsis, NotImplemented,
        decimal.Decimal("1.10"), dt.datetime(2026, 1, 2, tzinfo=dt.UTC), Colour.RED, Point(1, 2),
        collections.OrderedDict(a=1), collections.Counter("aab"), collections.deque([1, 2], 3), int, len, np.sin,
        ValueError("as a value"), [True, 1, 1.0],
    ],
    ids=repr,
)  # fmt: skip
def test_a_value_comes_back_equal_and_of_its_type(pool, value):
    (back,) = pool.map(tasks.same, [value])
    for found in (both_ways(pool, value), back):
        assert type(found) is type(value)
        assert repr(found) == repr(value)


def test_not_a_number_and_subclasses_of_scalars_stay_what_they_are(pool):
    class Meters(float):
        pass

    assert both_ways(pool, float("nan")) != both_ways(pool, float("nan"))
    assert type(both_ways(pool, Meters(2.5))).__name__ == "Meters"
    assert type(both_ways(pool, np.float64(2.5))) is np.float64
    assert both_ways(pool, os.PathLike) is os.PathLike


def test_identity_within_one_call_is_kept(pool):
    def look(left, right, pair):
        left.append(1)
        return left is right, right is pair[0], pair

    shared = []
    same, inside, pair = pool.submit(look, shared, shared, [shared, shared]).result()
    assert (same, inside) == (True, True)
    assert pair[0] is pair[1]
    assert shared == []


def test_an_object_that_holds_itself_travels(pool):
    loop = [1]
    loop.append(loop)
    back = both_ways(pool, loop)
    assert back[1] is back


def test_deep_structures_travel_or_fail_alone(pool):
    deep = 1
    for _ in range(200):
        deep = [deep]
    assert both_ways(pool, deep) == deep
    for _ in range(200_000):
        deep = [deep]
    assert isinstance(pool.submit(tasks.same, deep).exception(), RecursionError | pickle.PicklingError)
    while type(deep) is list:  # taken apart by hand: comparing or freeing it otherwise would recurse too
        deep = deep[0]
    assert both_ways(pool, 1) == 1


def test_lambdas_closures_partials_and_methods_run(pool):
    factor = 3

    class Adder:
        def __init__(self, base):
            self.base = base

        def add(self, item):
            return self.base + item

        def __call__(self, item):
            return self.base * item

        @classmethod
        def name(cls):
            return cls.__name__

        @staticmethod
        def twice(item):
            return 2 * item

    calls = [
        (lambda item: item * factor, 21),
        (functools.partial(tasks.add, 3), 10),
        (functools.partial(lambda left, right: left + right, right=4), 11),
        (Adder(5).add, 12),
        (Adder(5), 35),
        (Adder.twice, 14),
        ("{}".format, "7"),
        (Point(1, 1).moved, Point(8, 1)),
    ]
    for fn, expected in calls:
        assert pool.submit(fn, 7).result() == expected
        assert list(pool.map(fn, [7, 7])) == [expected] * 2
    assert pool.submit(Adder.name).result() == "Adder"


def test_a_closure_that_changes_is_sent_as_it_is_now(pool):
    state = {"factor": 1}
    number = 1

    def scaled(item):
        return item * state["factor"] * number

    found = [pool.submit(scaled, 10).result()]
    state["factor"] = 2
    found.append(pool.submit(scaled, 10).result())
    number = 5
    found.append(pool.submit(scaled, 10).result())
    assert found == [10, 20, 100]


def test_a_function_that_was_changed_is_sent_anew(pool):
    def versioned(item, step=1):
        return item + step

    found = [pool.submit(versioned, 1).result()]
    versioned.__defaults__ = (10,)
    found.append(pool.submit(versioned, 1).result())
    assert found == [2, 11]


def test_thousands_of_different_functions_are_forgotten_again(make_pool):
    pool = make_pool(1)
    assert [pool.submit(eval(f"lambda: {number}")).result() for number in range(1000)] == list(range(1000))


def test_results_that_only_cloudpickle_knows_arrive(pool):
    made = pool.submit(lambda: [lambda item: item + 1]).result()
    assert made[0](1) == 2


def test_a_result_of_a_class_made_in_the_task_arrives(pool):
    def make():
        class Local:
            word = "local"

        return Local()

    assert pool.submit(make).result().word == "local"


ARRAYS = [
    np.arange(10),
    np.arange(MIB, dtype="f8"),
    np.arange(MIB, dtype="f8").reshape(1024, 1024)[::2, 1::3],
    np.asfortranarray(np.arange(MIB).reshape(1024, 1024)),
    np.arange(MIB)[::-1],
    np.zeros((0, 5)),
    np.zeros((0, 100_000)),
    np.array(3.5),
    np.broadcast_to(np.arange(1024.0), (1024, 1024)),
    np.array(["text", b"bytes", None, (1, 2)], dtype=object),
    np.array(["a", "bcd"] * 50_000),
    np.array([(1, 2.5)] * 20_000, dtype=[("id", "i4"), ("weight", "f8")]),
    np.array(["2026-01-01"] * 20_000, dtype="datetime64[D]"),
    np.ma.masked_array(np.arange(50_000), mask=False),
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype.kind}{array.shape}{array.strides}")
def test_arrays_of_every_kind_come_back_equal(pool, array):
    back = both_ways(pool, array)
    assert type(back) is type(array)
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    assert (back == array).all()


@pytest.mark.parametrize("size", [100, 20_000, MIB])
def test_what_a_task_writes_into_its_array_never_reaches_the_caller(pool, size):
    def fill(array):
        array += 1
        array[0] = 99
        return int(array[0]), int(array[1]), array

    array = np.zeros(size, dtype="i8")
    for _ in range(3):
        first, second, back = pool.submit(fill, array).result()
        assert (first, second) == (99, 1)
        assert back[0] == 99
        assert not array.any()


def test_an_array_result_is_the_callers_to_write(pool):
    results = [pool.submit(np.full, MIB, value, "i8").result() for value in range(4)]
    for value, array in enumerate(results):
        assert array.flags.writeable
        array[:] += 10
        assert (array == value + 10).all()


def test_an_array_that_a_task_keeps_stays_what_it_was(make_pool):
    def keep(array):
        tasks.kept = array

    def look():
        return int(tasks.kept[0]), int(tasks.kept[-1])

    pool = make_pool(1)
    pool.submit(keep, np.full(MIB, 7, dtype="i8")).result()
    for value in range(5):
        pool.submit(tasks.same, np.full(MIB, value, dtype="i8")).result()
    assert pool.submit(look).result() == (7, 7)


def test_the_same_array_twice_in_a_call_is_one_array(pool):
    def look(left, right):
        left[0] = 5
        return int(right[0])

    array = np.zeros(MIB)
    assert pool.submit(look, array, array).result() == 5


def test_an_array_may_be_changed_once_its_task_has_ended(pool):
    array = np.zeros(MIB, dtype="i8")
    found = []
    for value in range(20):
        array[:] = value
        found.append(pool.submit(lambda given: (int(given[0]), int(given[-1])), array).result())
    assert found == [(value, value) for value in range(20)]


def test_many_large_payloads_both_ways_at_once(pool):
    arrays = [np.full(200_000, number, dtype="i8") for number in range(40)]
    for number, back in enumerate(pool.map(tasks.same, arrays)):
        assert (back == number).all()
    assert pool.statistics().shared_bytes_used >= 0


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, MIB, 30 * MIB])
@pytest.mark.parametrize("kind", [bytes, bytearray, str])
def test_text_and_bytes_of_every_size_travel(pool, kind, size):
    value = "x" * size if kind is str else kind(b"x") * size
    (mapped,) = pool.map(tasks.same, [value])
    nested = both_ways(pool, {"deep": [value]})
    for back in (both_ways(pool, value), mapped, nested["deep"][0]):
        assert type(back) is kind
        assert back == value


def test_a_bytearray_that_comes_back_can_grow(pool):
    back = both_ways(pool, bytearray(MIB))
    back += b"more"
    assert len(back) == MIB + 4


def test_a_memoryview_arrives_as_bytes(pool):
    assert both_ways(pool, memoryview(b"abc")) == b"abc"


def test_pickle_buffers_and_readonly_arrays_travel(pool):
    array = np.arange(MIB)
    array.flags.writeable = False
    back = both_ways(pool, array)
    assert (back == array).all()
    assert not back.flags.writeable


def test_a_hundred_arrays_in_one_call(pool):
    arrays = [np.full(10_000, number) for number in range(100)]
    assert [int(back[0]) for back in both_ways(pool, arrays)] == list(range(100))


def test_a_data_frame_travels(pool):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"number": np.arange(100_000), "word": ["a", "b"] * 50_000})
    back = both_ways(pool, frame)
    assert frame.equals(back)
    back["number"] += 1
    assert frame["number"][0] == 0


@pytest.mark.parametrize(
    "value", [b"y" * 300_000, [b"y" * 300_000, 1], np.arange(100_000)], ids=["b", "list", "array"]
)
def test_shared_memory_is_given_back_when_payloads_are_done_with(pool, value):
    def grown():
        before = pool.statistics().shared_bytes_used
        for _ in range(30):
            both_ways(pool, value)
        return pool.statistics().shared_bytes_used - before

    grown()
    assert grown() < 2 * MIB
