"""What the engines say, before anything runs, of functions and modules they cannot take."""

import json
import threading

import pytest

from whichever.errors import EngineUnavailableError
from whichever.executors import ENGINES, open_engine
from whichever.executors._imports import modules_of
from whichever.meter import Meter

needs_interpreters = pytest.mark.skipif(
    ENGINES["interpreters"].unavailable() is not None, reason="sub-interpreters need Python 3.14"
)


async def coroutine(item):
    return item


def plain(item):
    return item


def through_json(item):
    return json.dumps(item)


@pytest.mark.parametrize("name", ["threads", "processes"])
def test_a_coroutine_function_is_refused_without_a_loop(name):
    assert "coroutine function" in ENGINES[name].unavailable(coroutine)
    with open_engine(name, 1) as engine, pytest.raises(EngineUnavailableError, match="coroutine"):
        engine.run(coroutine, [1])


def test_a_plain_function_is_refused_by_the_async_engine():
    assert ENGINES["async"].unavailable(plain) == "plain is not a coroutine function (async def)"
    assert ENGINES["async"].unavailable(coroutine) is None
    with open_engine("async", 1) as engine, pytest.raises(EngineUnavailableError, match="async def"):
        engine.run(plain, [1])


def test_the_serial_engine_awaits_coroutine_functions_one_by_one():
    with open_engine("serial", 1) as engine:
        assert [outcome.value for outcome in engine.run(coroutine, [1, 2])] == [1, 2]


def test_a_function_that_holds_a_lock_does_not_go_to_processes():
    lock = threading.Lock()
    assert "does not pickle" in ENGINES["processes"].unavailable(lambda item: lock and item)
    assert ENGINES["threads"].unavailable(lambda item: lock and item) is None


def test_a_refused_function_leaves_the_engine_usable():
    lock = threading.Lock()
    with open_engine("processes", 1) as engine:
        with pytest.raises(EngineUnavailableError, match="does not pickle"):
            engine.run(lambda item: lock and item, [1])
        assert engine.run(plain, [4])[0].value == 4


def test_a_function_that_its_name_does_not_lead_to_travels_as_code():
    def lost(item):
        return item

    lost.__qualname__, lost.__module__ = "missing", "json"
    with open_engine("processes", 1) as engine:
        assert engine.run(lost, [1])[0].value == 1


def test_modules_are_found_through_code_closures_and_partials():
    def inner(item):
        return threading.active_count() + item

    inner.__module__ = "__main__"

    def outer(item):
        return inner(item), json

    outer.__module__ = "__main__"
    assert modules_of(outer) == ["json", "threading"]
    assert modules_of(through_json) == [__name__]


@needs_interpreters
def test_a_module_that_no_sub_interpreter_loads_is_named():
    with pytest.raises(
        EngineUnavailableError, match=r"module whichever\._core does not load in a sub-interp"
    ):
        open_engine("interpreters", 1, ["json", "whichever._core"])


@needs_interpreters
def test_a_function_whose_module_does_not_load_in_a_sub_interpreter_is_refused():
    assert "does not load in a sub-interpreter" in ENGINES["interpreters"].unavailable(Meter)
    assert ENGINES["interpreters"].unavailable(json.dumps) is None


@pytest.mark.skipif(ENGINES["interpreters"].unavailable() is None, reason="this Python has sub-interpreters")
def test_an_old_python_says_which_version_has_sub_interpreters():
    with pytest.raises(EngineUnavailableError, match=r"need Python 3\.14, this is 3\.1"):
        open_engine("interpreters", 2)
