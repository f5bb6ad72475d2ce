"""A pool that is over leaves no objects behind, however it ended: programs make one for each request."""

import gc
from collections import Counter

import pytest
from waiting import eventually

import whichever

TIMES = 8


def own_objects():
    """Count the objects of our classes, and the threads."""
    gc.collect()
    return Counter(
        kind.__qualname__
        for kind in map(type, gc.get_objects())
        if str(kind.__module__).startswith(("whichever.", "threading"))
    )


def used(pool, task):
    assert pool.submit(task, 2).result() == 2
    assert list(pool.map(task, range(10))) == list(range(10))


def shut(make, task):
    with make() as pool:
        used(pool, task)


def dropped(make, task):
    used(make(), task)


def broken_off(make, task):
    pool = make()
    results = pool.map(task, range(100))
    assert next(results) == 0
    pool.shutdown(wait=False, cancel_futures=True)


def under_a_limit(make, task):
    with make() as pool:
        assert pool.options(timeout=1000).submit(task, 2).result() == 2


def itself(number):
    return number


@pytest.mark.parametrize("life", [shut, dropped, broken_off])
def test_a_pool_that_is_over_leaves_nothing(new_pool, task, life):
    leaves_nothing(lambda: life(new_pool, task(itself)))


def test_a_thread_pool_whose_tasks_may_run_for_so_long_leaves_nothing():
    leaves_nothing(lambda: under_a_limit(lambda: whichever.ThreadPool(2), itself))


def leaves_nothing(live):
    for _ in range(3):
        live()
    before = own_objects()
    for _ in range(TIMES):
        live()

    def grown():
        # What others have left meanwhile, goes for some time yet.
        return {name: more for name, more in (own_objects() - before).items() if more >= TIMES}

    assert eventually(lambda: not grown()), grown()


def test_a_process_pool_that_opens_while_the_program_ends_is_ended(start):
    program = start("""
        import atexit, whichever
        from whichever.executors import _exit

        class Opener(_exit.Ending):
            def end_at_exit(self, *, interrupted):
                global pool
                pool = whichever.ProcessPool(1)
                assert pool.submit(abs, -1).result() == 1

        def tell():
            try:
                pool.submit(abs, -1)
            except RuntimeError as refused:
                print(refused)

        if __name__ == "__main__":
            atexit.register(tell)
            Opener().keep()
    """)
    assert program.finish() == ("cannot schedule new futures after interpreter shutdown\n", "", 0)
    assert program.is_gone()
