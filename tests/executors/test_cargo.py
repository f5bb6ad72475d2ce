"""What a process pool carries, there and back: by name, by value, in and out of the pickle."""

import contextvars
import pickle
import sys
import threading
import types
from concurrent.futures import process

import numpy as np
import pytest

from whichever.errors import RemoteError
from whichever.executors._remote import cargo
from whichever.executors._remote.loading import loading

LARGE = cargo.OUT_OF_BAND_BYTES
VARIABLE = contextvars.ContextVar("VARIABLE", default="nothing")


def carry(*args, **kwargs):
    """Send a call the way it goes; return what arrives and what stayed out of the pickle."""
    blob, buffers = cargo.dump_call(None, args, kwargs)
    copies = [bytearray(buffer) for buffer in buffers]
    _, args, kwargs = cargo.load_call(blob, copies)
    return args, kwargs, [len(buffer) for buffer in buffers]


@pytest.fixture
def main_module(monkeypatch):
    """Code that a program defines at its top level, which only this process has."""
    module = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", module)

    def define(text):
        exec(text, vars(module))
        return module

    return define


@pytest.fixture
def elsewhere(monkeypatch):
    """Have ``__main__`` be another one from now on, as it is in a worker."""
    return lambda: monkeypatch.setitem(sys.modules, "__main__", types.ModuleType("__main__"))


def test_a_call_arrives_as_it_was():
    blob, buffers = cargo.dump_call(divmod, (7,), {"key": [1, 2]})
    assert cargo.load_call(blob) == (divmod, (7,), {"key": [1, 2]})
    assert buffers == []


@pytest.mark.parametrize("size", [LARGE - 1, LARGE])
@pytest.mark.parametrize("make", [bytes, bytearray, lambda size: np.zeros(size, np.uint8)])
def test_buffers_leave_the_pickle_from_the_limit_on(size, make):
    (value,), _, lengths = carry(make(size))
    assert type(value) is type(make(0))
    assert len(value) == size
    assert not any(value)
    assert lengths == ([size] if size >= LARGE else [])


@pytest.mark.parametrize("wrap", [lambda it: [1, it], lambda it: (it, "x"), lambda it: {"key": it}])
def test_large_bytes_one_level_down_leave_it_too(wrap):
    data = bytes(range(256)) * 1024
    (value,), kwargs, lengths = carry(wrap(data), again=wrap(data))
    assert value == kwargs["again"] == wrap(data)
    assert lengths == [len(data)]


def test_arrays_and_large_bytes_do_not_change_places():
    arrays = [np.full(LARGE, number, np.uint8) for number in (1, 2)]
    rows = [bytes([number]) * LARGE for number in (3, 4)]
    (first, second, third, fourth), _, _ = carry(arrays[0], rows[0], arrays[1], rows[1])
    assert [first[0], second[0], third[0], fourth[0]] == [1, 3, 2, 4]


def test_lists_that_arguments_share_are_shared_when_they_arrive():
    row = [b"x" * LARGE, bytearray(LARGE)]
    (one, other, data), _, _ = carry(row, {"deeper": [row]}, row[1])
    assert other["deeper"][0] is one
    assert one[1] is data


def test_fortran_order_survives():
    array = np.asfortranarray(np.arange(LARGE, dtype=np.float64).reshape(2, -1))
    (arrived,), _, _ = carry(array)
    assert (arrived == array).all()
    assert arrived.flags.f_contiguous


def test_an_array_that_may_not_be_written_to_arrives_so():
    array = np.zeros(LARGE)
    array.flags.writeable = False
    (arrived,), _, _ = carry(array)
    assert not arrived.flags.writeable


def test_results_take_the_same_way_back():
    blob, buffers = cargo.dump_result([b"y" * LARGE, np.ones(LARGE)])
    text, array = cargo.load_result(blob, buffers)
    assert (text, array.sum(), len(buffers)) == (b"y" * LARGE, LARGE, 2)


def test_what_belongs_to_main_goes_by_value_wherever_it_is(main_module, elsewhere):
    main = main_module(
        "class Pair:\n    def __init__(self, left): self.left = left\ndef first(pair): return pair.left"
    )
    blob, buffers = cargo.dump_call(main.first, (main.Pair(np.zeros(LARGE)),), {})
    elsewhere()
    fn, args, _ = cargo.load_call(blob, [bytearray(buffer) for buffer in buffers])
    assert len(buffers) == 1
    assert fn(*args).shape == (LARGE,)


def test_an_object_of_main_that_comes_home_is_of_the_class_it_was(main_module):
    main = main_module("class Pair:\n    pass")
    (arrived,), _, _ = carry(main.Pair())
    assert type(arrived) is main.Pair


def test_large_bytes_leave_the_pickle_of_code_too():
    data = b"z" * LARGE
    blob, buffers = cargo.dump_call(lambda value: len(value), (data,), {})
    fn, args, _ = cargo.load_call(blob, buffers)
    assert (fn(*args), len(buffers), len(blob) < 5000) == (LARGE, 1, True)


def test_what_does_not_pickle_says_so():
    with pytest.raises(TypeError, match="lock"):
        cargo.dump_call(print, (threading.Lock(),), {})


def test_a_module_whose_code_is_running_goes_by_value_and_cannot_be_imported(monkeypatch, tmp_path):
    (tmp_path / "half_run.py").write_text("def answer():\n    return 42\n")
    monkeypatch.syspath_prepend(tmp_path)
    import half_run

    try:
        by_value, _ = cargo.dump_call(half_run.answer, (), {}, ("half_run",))
        by_name, _ = cargo.dump_call(half_run.answer, (), {})
        del sys.modules["half_run"]
        assert cargo.load_call(by_value)[0]() == 42
        with pytest.raises(ImportError):
            __import__("half_run")
        assert cargo.load_call(by_name)[0].__module__ == "half_run"  # its code has run to the end since
        assert sys.modules["half_run"].answer() == 42
    finally:
        cargo.forbid(())
        sys.modules.pop("half_run", None)


def test_loading_is_told_apart_from_running():
    class Watch:
        def __reduce__(self):
            return eval, ("bool(__import__('whichever.executors._remote.loading', fromlist=['x']).loading)",)

    assert carry(Watch())[0] == (True,)
    assert not loading


def raised(fn, *args):
    try:
        fn(*args)
    except BaseException as error:
        return error
    raise AssertionError


def test_an_exception_keeps_type_attributes_and_remote_traceback():
    def fails():
        error = KeyError("gone")
        error.code = 7
        raise error

    error = cargo.load_error(cargo.dump_error(raised(fails)))
    assert (type(error), error.args, error.code) == (KeyError, ("gone",), 7)
    assert type(error.__cause__) is process._RemoteTraceback
    assert "in fails" in str(error.__cause__)


class TwoNumbersError(Exception):
    def __init__(self, left, right):
        super().__init__(f"{left} and {right}")


class UnspeakableError(Exception):
    def __init__(self, value):
        super().__init__()
        self.value = value

    def __str__(self):
        raise ZeroDivisionError


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (TwoNumbersError(1, 2), "1 and 2"),
        (UnspeakableError(threading.Lock()), "<no text: __str__ raised ZeroDivisionError>"),
    ],
)
def test_an_exception_that_cannot_travel_is_stood_for(error, text):
    arrived = cargo.load_error(cargo.dump_error(error))
    assert type(arrived) is RemoteError
    assert arrived.type_name == f"{__name__}.{type(error).__name__}"
    assert arrived.text == text
    assert type(error).__name__ in arrived.traceback
    assert vars(pickle.loads(pickle.dumps(arrived))) == vars(arrived)


def test_an_exception_that_loads_only_in_the_worker_is_stood_for(main_module, elsewhere, monkeypatch):
    blob = cargo.dump_error(TwoNumbersError.__mro__[1]("fine"))
    broken = pickle.dumps((b"no pickle", *pickle.loads(blob)[1:]))
    assert type(cargo.load_error(broken)) is RemoteError


def test_a_function_finds_the_context_variables_it_uses():
    def read(default=None, variable=VARIABLE):
        return variable.get()

    blob, _ = cargo.dump_call(read, (), {})
    fn, _, _ = cargo.load_call(blob)
    assert fn() == "nothing"
    token = VARIABLE.set("something")
    try:
        assert fn() == "something"
    finally:
        VARIABLE.reset(token)
