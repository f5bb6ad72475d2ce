"""BLAS threads are limited while tasks run, for the process, and it gets back what it had."""

import os
import threading

import pytest
from threads_waiting import until

import whichever

pytest.importorskip("numpy")
threadpoolctl = pytest.importorskip("threadpoolctl")
_BLAS = [info for info in threadpoolctl.threadpool_info() if info["user_api"] == "blas"]
_NAMES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS")
pytestmark = [
    pytest.mark.skipif(not _BLAS, reason="numpy has no BLAS that threadpoolctl knows"),
    pytest.mark.skipif(
        any(name in os.environ for name in _NAMES), reason="the environment limits BLAS already"
    ),
]


def blas_threads():
    return max(info["num_threads"] for info in threadpoolctl.threadpool_info() if info["user_api"] == "blas")


def set_blas_threads(number):
    for library in threadpoolctl.ThreadpoolController().lib_controllers:
        if library.user_api == "blas":
            library.set_num_threads(number)
            getattr(library, "clear_controlling_thread", lambda: None)()


@pytest.fixture(autouse=True)
def four_threads():
    """BLAS with four threads outside, whatever the machine has."""
    before = blas_threads()
    set_blas_threads(4)
    yield
    assert until(lambda: blas_threads() == 4), "not given back"
    set_blas_threads(before)


def test_tasks_find_their_share_and_the_process_gets_back_what_it_had(make_pool):
    pool = make_pool(2, inner_threads=2)
    assert list(pool.map(lambda _: blas_threads(), range(4))) == [2] * 4
    assert until(lambda: blas_threads() == 4), "not while the pool is idle"
    assert pool.submit(blas_threads).result() == 2
    pool.shutdown()
    assert blas_threads() == 4


def test_by_default_the_cores_are_shared_out(make_pool):
    cores = max(int(whichever._core.usable_cores()["cores"]), 1)
    assert make_pool(cores).submit(blas_threads).result() == 1
    assert until(lambda: blas_threads() == 4)
    assert make_pool(1).submit(blas_threads).result() == min(4, cores)


def test_of_pools_that_run_together_the_smaller_share_counts(make_pool):
    wide, narrow, gate = make_pool(1, inner_threads=3), make_pool(1, inner_threads=1), threading.Event()
    running = wide.submit(gate.wait, 30)
    assert until(lambda: blas_threads() == 3)
    assert narrow.submit(blas_threads).result() == 1
    assert until(lambda: blas_threads() == 3), "the wide pool's tasks still run"
    gate.set()
    assert running.result()


def test_a_pool_never_raises_a_limit(make_pool):
    set_blas_threads(2)
    assert make_pool(1, inner_threads=3).submit(blas_threads).result() == 2
    set_blas_threads(4)


def test_a_limit_that_the_program_is_inside_of_stays(make_pool):
    with threadpoolctl.threadpool_limits(3):
        assert make_pool(1, inner_threads=1).submit(blas_threads).result() in {
            1,
            3,
        }  # 1 before threadpoolctl 3.6
        assert blas_threads() in {1, 3}


def test_what_somebody_sets_meanwhile_stays(make_pool):
    def look():
        with threadpoolctl.threadpool_limits(3):
            return blas_threads()

    pool = make_pool(1, inner_threads=1)
    assert pool.submit(look).result() == 3
    assert pool.submit(blas_threads).result() == 1


def test_the_users_environment_stays(start):
    program = start("""
        import os
        os.environ["OMP_NUM_THREADS"] = "3"
        import numpy, threadpoolctl, whichever
        def look():
            return max(info["num_threads"] for info in threadpoolctl.threadpool_info() if info["user_api"] == "blas")
        before = look()
        with whichever.ThreadPool(2, inner_threads=1) as pool:
            assert pool.submit(look).result() == before
    """)
    assert program.finish() == ("", "", 0)


def test_a_library_that_a_task_loads_is_limited_from_the_next_task_on(start):
    program = start("""
        import whichever
        def look():
            import numpy, threadpoolctl
            return max(info["num_threads"] for info in threadpoolctl.threadpool_info() if info["user_api"] == "blas")
        with whichever.ThreadPool(1, inner_threads=1) as pool:
            before = pool.submit(look).result()
            assert pool.submit(look).result() == 1
        assert look() == before
    """)
    assert program.finish() == ("", "", 0)


def test_a_child_has_what_its_parent_had(start):
    program = start(
        """
        import os, numpy, threadpoolctl, whichever
        def look():
            return max(info["num_threads"] for info in threadpoolctl.threadpool_info() if info["user_api"] == "blas")
        before = look()
        def fork():
            child = os.fork()
            if child == 0:
                os._exit(look())
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        with whichever.ThreadPool(1, inner_threads=1) as pool:
            assert pool.submit(look).result() == 1
            assert pool.submit(fork).result() == before
    """,
        warnings="ignore::DeprecationWarning",
    )
    assert program.finish() == ("", "", 0)


def test_a_number_that_means_nothing_is_refused():
    with pytest.raises(ValueError, match="inner_threads must be at least 1"):
        whichever.ThreadPool(2, inner_threads=0)


def test_without_threadpoolctl_a_number_is_refused_and_the_default_is_not(monkeypatch):
    monkeypatch.setattr("whichever.executors._thread_pool.is_possible", lambda: False)
    with pytest.raises(ModuleNotFoundError, match=r"whichever\[blas\]"):
        whichever.ThreadPool(2, inner_threads=1)
    with whichever.ThreadPool(2) as pool:
        assert pool.submit(blas_threads).result() == 4
