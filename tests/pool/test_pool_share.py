"""`share`: data that stays in shared memory over many tasks."""

import gc
import os
import time

import numpy as np
import pool_tasks as tasks
import pytest
from watching import until

import whichever

MIB = 1 << 20


def total(array):
    return float(array.sum())


def test_a_shared_array_is_equal_and_cannot_be_written(pool):
    array = np.arange(MIB, dtype="f8")
    shared = whichever.share(array)
    assert type(shared) is np.ndarray
    assert (shared == array).all()
    with pytest.raises(ValueError, match="read-only"):
        shared[0] = 1
    array[0] = 5
    assert shared[0] == 0
    assert pool.submit(total, shared).result() == shared.sum()


def test_a_thousand_tasks_take_no_more_shared_memory_than_one(pool):
    shared = whichever.share(np.ones(4 * MIB, dtype="u1"))
    pool.submit(total, shared).result()
    before = pool.statistics().shared_bytes_used
    assert set(pool.map(total, [shared] * 1000)) == {4.0 * MIB}
    assert pool.statistics().shared_bytes_used - before < MIB


def test_slices_and_reshapes_of_shared_data_travel(pool):
    shared = whichever.share(np.arange(MIB, dtype="i8").reshape(1024, 1024))
    parts = [
        shared[10:20],
        shared[500],
        shared.reshape(-1)[5:50_000],
        shared.T,
        shared[::2, ::2],
        shared[1000:],
    ]
    before = pool.statistics().shared_bytes_used
    for part in parts:
        assert pool.submit(total, part).result() == part.sum()
    assert pool.submit(total, shared[:512]).result() == shared[:512].sum()
    assert until(lambda: pool.statistics().shared_bytes_used - before < 12 * MIB)


def test_a_task_writes_only_to_its_own_view(make_pool):
    def scribble(array):
        try:
            array[0] = 99
        except ValueError:
            return "refused"
        return int(array[0])

    pool = make_pool(1)
    shared = whichever.share(np.zeros(MIB))
    assert pool.submit(scribble, shared).result() in ("refused", 99)
    assert shared[0] == 0
    assert pool.submit(total, shared).result() == 0


def test_shared_data_in_dicts_frames_and_closures_travels(pool):
    pandas = pytest.importorskip("pandas")
    shared = whichever.share({"left": np.arange(100_000), "right": [np.ones(MIB), "word"]})
    assert (
        pool.submit(lambda data: float(data["right"][0].sum() + data["left"][5]), shared).result() == MIB + 5
    )
    frame = whichever.share(pandas.DataFrame({"number": np.arange(100_000.0)}))
    assert pool.submit(lambda data: float(data["number"].sum()), frame).result() == float(
        frame["number"].sum()
    )
    array = whichever.share(np.ones(MIB))
    assert pool.submit(lambda: float(array.sum())).result() == MIB


def test_a_worker_may_go_on_after_the_caller_has_dropped_it(make_pool, tmp_path):
    gate = tmp_path / "gate"

    def use(array, gate):
        while not os.path.exists(gate):
            time.sleep(0.002)
        return float(array.sum())

    pool = make_pool(1)
    shared = whichever.share(np.ones(MIB))
    future = pool.submit(use, shared, str(gate))
    del shared
    gc.collect()
    others = [whichever.share(np.full(MIB, 3.0)) for _ in range(3)]
    gate.touch()
    assert future.result() == MIB
    assert [pool.submit(total, other).result() for other in others] == [3.0 * MIB] * 3


def test_a_worker_may_keep_it_over_tasks(make_pool):
    def keep(array):
        tasks.shared = array

    pool = make_pool(1)
    pool.submit(keep, whichever.share(np.full(MIB, 4.0))).result()
    gc.collect()
    for value in range(4):
        pool.submit(total, whichever.share(np.full(MIB, float(value)))).result()
    assert pool.submit(lambda: float(tasks.shared.sum())).result() == 4.0 * MIB


def test_its_memory_is_given_back(pool):
    def used():
        pool.submit(tasks.same, 1).result()
        return pool.statistics().shared_bytes_used

    before = used()
    for _ in range(10):
        assert pool.submit(total, whichever.share(np.ones(MIB))).result() == MIB
        gc.collect()
    assert until(lambda: used() - before < 40 * MIB)


def test_it_serves_one_pool_after_another(make_pool):
    shared = whichever.share(np.arange(100_000))
    expected = float(shared.sum())
    for _ in range(2):
        with make_pool(1) as pool:
            assert pool.submit(total, shared).result() == expected
    both = make_pool(1), make_pool(1)
    assert [pool.submit(total, shared).result() for pool in both] == [expected] * 2
    assert float(shared.sum()) == expected


def test_a_shared_array_may_come_back(pool):
    shared = whichever.share(np.arange(MIB))
    back = pool.submit(tasks.same, shared).result()
    assert (back == shared).all()


def test_a_killed_worker_does_not_keep_it(make_pool):
    pool = make_pool(1)
    before = pool.statistics().shared_bytes_used
    shared = whichever.share(np.ones(MIB))
    with pytest.raises(whichever.WorkerDied):
        pool.submit(tasks.die, shared).result()
    assert pool.submit(total, shared).result() == MIB
    del shared
    gc.collect()
    pool.shutdown()
    assert until(lambda: pool.statistics().shared_bytes_used <= before)


@pytest.mark.parametrize("value", [1, "text", b"bytes", bytearray(100_000), [1, 2], np.zeros(0)])
def test_what_holds_no_array_is_refused_with_advice(value):
    with pytest.raises(TypeError, match="no array to share"):
        whichever.share(value)
