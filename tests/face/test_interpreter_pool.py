"""What `InterpreterPool` alone promises: sub-interpreters where there are any, and clear words where not."""

import operator
import os
import sys
import threading

import face_tasks as tasks
import pytest

import whichever
from whichever.executors import ENGINES, _interpreter_pool

MISSING = ENGINES["interpreters"].unavailable()
needs_interpreters = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))


@pytest.fixture
def pool():
    with whichever.InterpreterPool(1) as opened:
        yield opened


@pytest.mark.skipif(MISSING is None, reason="it has sub-interpreters")
def test_a_python_without_sub_interpreters_says_so():
    with pytest.raises(whichever.EngineUnavailableError, match=r"sub-interpreters need Python 3\.14"):
        whichever.InterpreterPool()


@needs_interpreters
def test_tasks_run_in_this_process_but_not_in_this_interpreter(pool):
    tasks.prepare("ours")
    try:
        assert pool.submit(tasks.look).result() is None
        assert pool.submit(os.getpid).result() == os.getpid()
    finally:
        tasks.prepare(None)


@needs_interpreters
def test_lambdas_and_closures_cross(pool):
    here = 3
    assert pool.submit(lambda item: item + here, 4).result() == 7


@needs_interpreters
def test_what_does_not_pickle_fails_its_own_task_with_a_note(pool):
    lock = threading.Lock()
    error = pool.submit(tasks.same, lock).exception()
    assert isinstance(error, TypeError)
    assert "sub-interpreter" in error.__notes__[-1]
    with pytest.raises(TypeError, match="pickle"):
        pool.submit(threading.Lock).result()
    assert pool.submit(tasks.same, 1).result() == 1


@needs_interpreters
def test_a_module_that_does_not_load_there_is_named(pool):
    def use_native_code():
        from whichever import _core

        return _core.__version__

    with pytest.raises(whichever.EngineUnavailableError, match=r"whichever\._core .*ProcessPool"):
        pool.submit(use_native_code).result()
    assert pool.submit(tasks.version).result() == "whichever"


@needs_interpreters
def test_numpy_is_refused_with_its_name(pool):
    pytest.importorskip("numpy")

    def use_numpy():
        import numpy as np

        return np.arange(3).sum()

    with pytest.raises(whichever.EngineUnavailableError, match="does not load in a sub-interpreter"):
        pool.submit(use_numpy).result()


@needs_interpreters
def test_a_module_that_is_not_there_is_an_import_error(pool):
    def use_nothing():
        import no_such_module_anywhere  # noqa: F401

    with pytest.raises(ModuleNotFoundError):
        pool.submit(use_nothing).result()


@needs_interpreters
def test_modules_are_found_where_the_caller_finds_them(tmp_path, monkeypatch):
    (tmp_path / "late_module.py").write_text("answer = 42\n")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    with whichever.InterpreterPool(1) as pool:
        assert pool.submit(eval, "__import__('late_module').answer").result() == 42


@needs_interpreters
def test_a_task_that_runs_is_not_cancelled(pool, tmp_path, until):
    future = pool.submit(tasks.wait_for, str(tmp_path / "runs"), str(tmp_path / "gate"))
    assert until((tmp_path / "runs").exists)
    assert future.running()
    assert not future.cancel()
    (tmp_path / "gate").touch()
    assert future.result() == str(tmp_path / "gate")


@needs_interpreters
def test_threads_and_descriptors_end_with_the_pool(until):
    before = threading.active_count(), len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        with whichever.InterpreterPool(2) as pool:
            pool.submit(tasks.same, 1).result()
    assert until(lambda: (threading.active_count(), len(os.listdir("/proc/self/fd"))) == before)


@needs_interpreters
def test_short_tasks_of_a_map_go_many_to_a_message(monkeypatch):
    sizes = []
    send = _interpreter_pool.Staff.send
    monkeypatch.setattr(
        _interpreter_pool.Staff,
        "send",
        lambda staff, letter, letters, *rest: (
            sizes.append(len(letters)) or send(staff, letter, letters, *rest)
        ),
    )
    with whichever.InterpreterPool(2) as pool:
        assert list(pool.map(operator.neg, range(3000))) == [-item for item in range(3000)]
    assert sum(sizes) >= 3000  # what a batch does not get to goes again
    assert len(sizes) < 1000


@needs_interpreters
def test_a_batch_that_takes_long_comes_back_with_what_is_done(pool):
    lengths = [0.0] * 300 + [0.05] * 4
    for seconds in pool.map(tasks.nap, lengths, chunksize=400):
        assert seconds in (0.0, 0.05)
    assert list(pool.map(operator.neg, range(10), chunksize=3)) == [-item for item in range(10)]
