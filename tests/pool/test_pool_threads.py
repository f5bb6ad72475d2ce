"""Many threads use one pool at once: nobody gets another's result, nothing is lost, nothing is told twice."""

import random
import sys
import threading
from concurrent import futures

import pool_tasks as tasks
import pytest
from watching import until

THREADS = 6
ROUNDS = 40
NEW_FUNCTIONS = 40
SECONDS = 20


@pytest.fixture(autouse=True)
def _hurried():
    """Threads of an interpreter with a GIL take turns as often as they can, so that they meet here too."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def all_at_once(*works):
    """Run each work in a thread of its own, all from the same moment; raise what one of them raised."""
    start = threading.Barrier(len(works))

    def run(work):
        start.wait(SECONDS)
        work()

    with futures.ThreadPoolExecutor(len(works)) as threads:
        for done in [threads.submit(run, work) for work in works]:
            done.result()


class Hand:
    """One thread's part: one thing after another, by chance, each of which it checks itself."""

    def __init__(self, pool, seed):
        self.pool = pool
        self.random = random.Random(seed)

    def __call__(self):
        ways = [
            self.submit,
            self.submit_new,
            self.submit_large,
            self.map,
            self.map_in_part,
            self.cancel,
            self.tell,
        ]
        for _ in range(ROUNDS):
            self.random.choice(ways)(self.random.randrange(1_000_000))

    def submit(self, value):
        assert self.pool.submit(tasks.same, value).result(SECONDS) == value
        assert str(self.pool.submit(tasks.fail, value).exception(SECONDS)) == str(value)

    def submit_new(self, value):
        """More functions than a pool remembers, while others use those that it does."""
        handed_in = [self.pool.submit(lambda add, n=n: n + add, value) for n in range(NEW_FUNCTIONS)]
        assert [future.result(SECONDS) - value for future in handed_in] == list(range(NEW_FUNCTIONS))

    def submit_large(self, value):
        content = value.to_bytes(4, "big") * 40_000
        assert self.pool.submit(tasks.same, content).result(SECONDS) == content

    def map(self, value):
        items = range(value, value + 300)
        assert list(self.pool.map(tasks.increment, items, timeout=SECONDS)) == [item + 1 for item in items]

    def map_in_part(self, value):
        results = self.pool.map(tasks.increment, iter(range(value, value + 5000)))
        assert next(results) == value + 1

    def cancel(self, value):
        handed_in = [self.pool.submit(tasks.same, value + number) for number in range(20)]
        cancelled = {future for future in handed_in[::2] if future.cancel()}
        for number, future in enumerate(handed_in):
            if future in cancelled:
                with pytest.raises(futures.CancelledError):
                    future.result(SECONDS)
            else:
                assert future.result(SECONDS) == value + number

    def tell(self, value):
        told = []
        handed_in = {self.pool.submit(tasks.same, value + number): value + number for number in range(10)}
        for future in handed_in:
            future.add_done_callback(told.append)
        for future in futures.as_completed(handed_in, SECONDS):
            assert future.result() == handed_in[future]
        assert until(lambda: len(told) >= len(handed_in))
        assert sorted(map(id, told)) == sorted(map(id, handed_in))


def test_threads_that_submit_map_and_cancel_each_get_their_own_results(make_pool):
    pool = make_pool(2)
    all_at_once(*(Hand(pool, seed) for seed in range(THREADS)))
    assert until(lambda: (pool.statistics().waiting, pool.statistics().under_way) == (0, 0))
    counts = pool.statistics()
    assert counts.submitted == counts.returned + counts.raised + counts.cancelled
    assert (counts.workers_died, counts.lost) == (0, 0)


def test_a_function_that_one_thread_pushes_out_of_the_memory_runs_for_the_other(make_pool):
    pool = make_pool(2)
    begun = threading.Event()
    over = threading.Event()

    def use():
        handed_in = [pool.submit(tasks.same, 0)]
        begun.set()
        while not over.is_set():
            handed_in = [pool.submit(tasks.same, number) for number in range(50)]
            assert [future.result(SECONDS) for future in handed_in] == list(range(50))

    def push_out():
        try:
            begun.wait(SECONDS)
            for _ in range(60):
                for future in [pool.submit(lambda n=n: n) for n in range(50)]:
                    future.result(SECONDS)
        finally:
            over.set()

    all_at_once(use, use, push_out)


def test_threads_that_ask_one_future_get_the_same_object_and_each_callback_one_call(pool):
    for _ in range(50):
        future = pool.submit(list, "ab")
        told, results = [], []

        def ask(future=future, told=told, results=results):
            future.add_done_callback(told.append)
            results.append(future.result(SECONDS))
            futures.wait([future], SECONDS)
            future.add_done_callback(told.append)

        all_at_once(*[ask] * 4)
        assert until(lambda told=told: len(told) >= 8)
        assert told == [future] * 8
        assert all(result is results[0] for result in results)


def test_threads_that_cancel_one_future_agree_on_how_it_ended(pool):
    for _ in range(50):
        future = pool.submit(tasks.nap, 0.001)
        told, answers = [], []
        future.add_done_callback(told.append)
        all_at_once(
            *[lambda future=future, answers=answers: answers.append(future.cancel())] * 3, future.done
        )
        assert until(lambda told=told: told)
        assert told == [future]
        assert answers == [future.cancelled()] * 3
    assert until(lambda: pool.statistics().under_way == 0)


def test_threads_may_take_from_one_map_in_turns_but_not_at_once(pool):
    results = pool.map(tasks.increment, iter(range(2000)))
    taken, refused = [], []

    def take():
        while True:
            try:
                taken.append(next(results))
            except StopIteration:
                return
            except ValueError as error:
                refused.append(error)

    all_at_once(take, take, take)
    assert sorted(taken) == list(range(1, 2001))
    assert {str(error) for error in refused} <= {"map iterator already executing"}


def test_pools_that_threads_make_at_once_are_all_ended_at_exit(start):
    program = start("""
        import threading, whichever
        def use(number):
            pools.append(whichever.ProcessPool(1))
            results.append(pools[-1].submit(abs, -number).result())
        pools, results = [], []
        threads = [threading.Thread(target=use, args=(7,)) for _ in range(8)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        print(results)
    """)
    assert program.finish() == (f"{[7] * 8}\n", "", 0)
    assert program.is_gone()


def test_an_argument_whose_end_uses_the_pool_stops_nobody(pool):
    class Lifelike(bytearray):
        """Its memory is sent as it is; when nobody needs it any more, it hands in a task of its own."""

        def __reduce_ex__(self, protocol):
            import pickle

            return bytearray, (pickle.PickleBuffer(self),)

        def __del__(self):
            last_words.append(pool.submit(tasks.same, "last words"))

    last_words = []
    for number in range(5):
        pool.submit(len, Lifelike(100_000))
        # Whoever submits collects what has ended, too: without giving up the interpreter, and under the pool's lock.
        assert until(lambda number=number: pool.submit(tasks.same, 1) and len(last_words) > number)
    assert [future.result(SECONDS) for future in last_words] == ["last words"] * 5


def test_what_belongs_to_a_pickled_object_may_use_the_pool_while_it_is_pickled(start):
    program = start("""
        import whichever
        pool = whichever.ProcessPool(1)
        class Eager:
            def __reduce__(self):
                return int, (pool.submit(lambda: 5).result(),)
        print(pool.submit(lambda item: item + 1, Eager()).result())
    """)
    assert program.finish() == ("6\n", "", 0)


def test_a_process_forked_while_a_thread_pickles_code_can_pickle_code_itself(start):
    program = start("""
        import multiprocessing, threading, warnings, whichever
        warnings.simplefilter("ignore", DeprecationWarning)
        reached, go_on = threading.Event(), threading.Event()
        class Slow:
            def __reduce__(self):
                reached.set()
                go_on.wait(20)
                return int, ()
        outer = whichever.ProcessPool(1)
        thread = threading.Thread(target=lambda: print(outer.submit(lambda item: item, Slow()).result()))
        thread.start()
        reached.wait(20)
        inner = whichever.ProcessPool(1, multiprocessing.get_context("fork"))
        print(inner.submit(lambda: lambda: 3).result(10)())
        go_on.set()
        thread.join()
    """)
    assert program.finish() == ("3\n0\n", "", 0)
