"""What a task raises reaches the caller, or something that stands for it; what does not travel costs its own task."""

import pickle
import sys
import threading
import traceback

import pool_tasks as tasks
import pytest

import whichever


class AwkwardError(Exception):
    """Pickles, but does not load: its arguments are not those of `Exception`."""

    def __init__(self, code, text):
        super().__init__(f"{code}: {text}")


class HeldError(Exception):
    """Does not pickle."""

    def __init__(self, text):
        super().__init__(text)
        self.lock = threading.Lock()


class FarError(Exception):
    """Loads in the worker alone."""

    def __reduce__(self):
        return _rebuild_far, ()


def _rebuild_far():
    import multiprocessing

    if multiprocessing.current_process().name == "MainProcess":
        raise ImportError("not at home")
    return FarError("far")


class ArgumentError(Exception):
    """Has arguments of its own, and pickles as they say."""

    def __init__(self, code, *, hint=""):
        super().__init__(code)
        self.hint = hint

    def __reduce__(self):
        return _rebuild_argument, (self.args[0], self.hint)


def _rebuild_argument(code, hint):
    return ArgumentError(code, hint=hint)


class Hostile:
    """Fails wherever it can when it travels."""

    def __init__(self, dump=False, load=False):
        self.dump, self.load = dump, load

    def __reduce__(self):
        if self.dump:
            raise OSError("does not pickle")
        return _rebuild_hostile, (self.load,)


def _rebuild_hostile(load):
    if load:
        raise OSError("does not load")
    return Hostile()


def throw(kind, *arguments, **keywords):
    raise kind(*arguments, **keywords)


def test_an_exception_has_its_type_arguments_and_far_traceback(pool):
    error = pool.submit(tasks.fail, "far away").exception()
    assert type(error) is ValueError
    assert error.args == ("far away",)
    assert "in fail" in str(error.__cause__)
    assert "far away" in str(error.__cause__)
    with pytest.raises(ValueError, match="far away") as caught:
        pool.submit(tasks.fail, "far away").result()
    assert "raise ValueError(text)" in "".join(traceback.format_exception(caught.value))


def test_causes_contexts_and_notes_of_an_exception_are_in_its_traceback(pool):
    def chain():
        try:
            {}["missing"]
        except KeyError as error:
            failure = ValueError("on top")
            failure.add_note("a note")
            raise failure from error

    error = pool.submit(chain).exception()
    assert error.__notes__ == ["a note"]
    assert "KeyError: 'missing'" in str(error.__cause__)


def test_an_exception_group_travels(pool):
    def both():
        raise ExceptionGroup("two", [ValueError(1), KeyError(2)])

    error = pool.submit(both).exception()
    assert [type(each) for each in error.exceptions] == [ValueError, KeyError]


def test_an_exception_with_arguments_of_its_own_travels(pool):
    error = pool.submit(throw, ArgumentError, 5, hint="look there").exception()
    assert (type(error), error.args, error.hint) == (ArgumentError, (5,), "look there")


@pytest.mark.parametrize(
    ("kind", "arguments", "text"),
    [(AwkwardError, (7, "odd"), "7: odd"), (HeldError, ("held",), "held"), (FarError, ("far",), "far")],
)
def test_an_exception_that_does_not_travel_comes_back_in_words(pool, kind, arguments, text):
    error = pool.submit(throw, kind, *arguments).exception()
    assert type(error) is whichever.RemoteError
    assert error.type_name.endswith(f".{kind.__name__}")
    assert error.text == text
    assert "in throw" in error.traceback
    assert "in throw" in str(error.__cause__)
    again = pickle.loads(pickle.dumps(error))
    assert (again.type_name, again.text, str(again)) == (error.type_name, error.text, str(error))
    assert pool.submit(tasks.same, 1).result() == 1


def test_an_exception_whose_words_fail_too_is_still_one(pool):
    class MuteError(Exception):
        def __str__(self):
            raise OSError("no words")

        def __reduce__(self):
            raise OSError("no pickle")

    error = pool.submit(throw, MuteError).exception()
    assert type(error) is whichever.RemoteError
    assert "MuteError" in str(error)


@pytest.mark.parametrize("code", [0, 3, "words", None])
def test_sys_exit_in_a_task_is_that_tasks_exception(pool, code):
    error = pool.submit(sys.exit, code).exception()
    assert type(error) is SystemExit
    assert error.code == code
    assert pool.statistics().workers_died == 0


@pytest.mark.parametrize(
    "kind", [MemoryError, KeyboardInterrupt, GeneratorExit, RecursionError, StopIteration]
)
def test_unusual_exceptions_are_the_tasks_own(pool, kind):
    assert type(pool.submit(throw, kind).exception()) is kind
    assert pool.submit(tasks.same, 1).result() == 1


def test_a_recursion_without_end_is_an_error_of_its_task(pool):
    def recur(number):
        return recur(number + 1)

    assert type(pool.submit(recur, 0).exception()) is RecursionError
    assert pool.submit(tasks.same, 1).result() == 1


def test_memory_that_is_not_there_is_an_error_of_its_task(pool):
    assert type(pool.submit(bytearray, 1 << 60).exception()) is MemoryError


def test_an_argument_that_does_not_pickle_fails_the_future(pool):
    error = pool.submit(tasks.same, Hostile(dump=True)).exception()
    assert (type(error), str(error)) == (OSError, "does not pickle")


def test_an_argument_that_does_not_load_fails_the_future(pool):
    error = pool.submit(tasks.same, Hostile(load=True)).exception()
    assert isinstance(error, whichever.RemoteError)
    assert "could not load the task: does not load" in error.text
    assert error.type_name == "builtins.OSError"
    assert pool.submit(tasks.same, 1).result() == 1


def test_a_result_that_does_not_pickle_fails_the_future(pool):
    error = pool.submit(Hostile, dump=True).exception()
    assert (type(error), str(error)) == (OSError, "does not pickle")
    assert isinstance(pool.submit(threading.Lock).exception(), TypeError)
    assert pool.submit(tasks.same, 1).result() == 1


def test_a_result_that_does_not_load_fails_the_future(pool):
    error = pool.submit(Hostile, load=True).exception()
    assert isinstance(error, whichever.RemoteError)
    assert "could not be loaded: does not load" in str(error)
    assert pool.submit(tasks.same, 1).result() == 1


def test_a_function_that_only_the_caller_has_is_named(pool, monkeypatch):
    import types

    module = types.ModuleType("made_up_module")
    exec("def task(item):\n    return item", vars(module))
    monkeypatch.setitem(sys.modules, "made_up_module", module)
    error = pool.submit(module.task, 1).exception()
    assert isinstance(error, whichever.RemoteError)
    assert error.type_name == "builtins.ModuleNotFoundError"
    assert "made_up_module" in error.text


def test_failures_in_a_map_cost_their_own_items(pool):
    items = [1, Hostile(load=True), 3, Hostile(dump=True), 5]
    ends = [pool.submit(tasks.same, item).exception() for item in items]
    assert [end is None for end in ends] == [True, False, True, False, True]
    results = pool.map(tasks.same, items)
    assert next(results) == 1
    with pytest.raises(whichever.RemoteError):
        next(results)
