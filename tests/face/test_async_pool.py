"""What `AsyncPool` alone promises: coroutines on one loop, so many at once, cancelled and closed as they should be."""

import asyncio
import contextlib
import functools
import gc
import os
import threading
import weakref
from concurrent import futures

import pytest
from waiting import eventually

import whichever

EVENTS = []


@pytest.fixture(autouse=True)
def _no_events():
    EVENTS.clear()


@pytest.fixture
def pool():
    with whichever.AsyncPool(4) as opened:
        yield opened


async def same(item):
    return item


async def sleep_well(seconds=1000):
    EVENTS.append("begun")
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        EVENTS.append("cleaned up")
        raise


async def where():
    return threading.current_thread(), asyncio.get_running_loop()


def test_all_tasks_run_on_one_loop_in_one_thread_of_its_own(pool):
    places = list(pool.map(where_it_runs, range(50)))
    assert len(set(places)) == 1
    assert places[0][0] is not threading.current_thread()
    assert places[0][0].name == "whichever-async"


async def where_it_runs(_item):
    return await where()


def test_no_more_than_max_workers_are_in_flight_and_so_many_are(until):
    most = now = 0

    async def count(_item):
        nonlocal most, now
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.001)
        now -= 1

    with whichever.AsyncPool(7) as pool:
        list(pool.map(count, range(200)))
    assert most == 7


def test_thousands_of_tasks_cost_a_handful_of_wakes(pool, monkeypatch):
    pool.submit(same, 1).result()
    loop = pool._loop._loop
    wakes = []
    ring = loop.call_soon_threadsafe
    monkeypatch.setattr(loop, "call_soon_threadsafe", lambda *a, **k: (wakes.append(1), ring(*a, **k))[1])
    gate = threading.Event()

    async def hold():
        gate.wait(20)

    held = pool.submit(hold)  # the loop is busy: what comes meanwhile is one batch
    handed_in = [pool.submit(same, item) for item in range(3000)]
    gate.set()
    assert [future.result() for future in handed_in] == list(range(3000))
    held.result()
    assert len(wakes) <= 3


@pytest.mark.parametrize("no_coroutine_function", [len, lambda: None, functools.partial(print), 42, where()])
def test_what_is_no_coroutine_function_is_refused_at_once(pool, no_coroutine_function):
    with pytest.raises(TypeError, match="coroutine functions"):
        pool.submit(no_coroutine_function)
    if asyncio.iscoroutine(no_coroutine_function):
        no_coroutine_function.close()


def test_partials_and_callable_objects_are_coroutine_functions(pool):
    class Task:
        async def __call__(self, item):
            return item

    assert pool.submit(functools.partial(same, 5)).result() == 5
    assert pool.submit(Task(), 6).result() == 6


def test_cancel_reaches_a_coroutine_that_runs(pool, until):
    future = pool.submit(sleep_well)
    assert until(future.running)
    assert future.cancel()
    assert future.cancelled()
    with pytest.raises(futures.CancelledError):
        future.result()
    assert until(lambda: EVENTS == ["begun", "cleaned up"])
    assert future.cancel()
    assert pool.submit(same, 1).result() == 1


def test_cancelling_twice_does_not_disturb_the_clean_up(pool, until):
    gate = threading.Event()

    async def slow_to_leave():
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            EVENTS.append("leaving")
            await asyncio.to_thread(gate.wait, 20)
            EVENTS.append("left")
            raise

    future = pool.submit(slow_to_leave)
    assert until(future.running)
    future.cancel()
    assert until(lambda: EVENTS == ["leaving"])
    future.cancel()
    gate.set()
    assert until(lambda: EVENTS == ["leaving", "left"])


def test_a_place_stays_taken_while_a_cancelled_coroutine_cleans_up(until):
    gate = threading.Event()

    async def slow_to_leave():
        try:
            await asyncio.sleep(1000)
        finally:
            await asyncio.to_thread(gate.wait, 20)
            EVENTS.append("left")

    async def follow():
        EVENTS.append("followed")

    with whichever.AsyncPool(1) as pool:
        first = pool.submit(slow_to_leave)
        assert until(first.running)
        second = pool.submit(follow)
        first.cancel()
        assert not second.done()
        gate.set()
        second.result()
    assert EVENTS == ["left", "followed"]


def test_a_coroutine_that_cancels_itself_is_cancelled(pool):
    async def give_up():
        raise asyncio.CancelledError

    future = pool.submit(give_up)
    with pytest.raises(futures.CancelledError):
        future.result()
    assert future.cancelled()


def test_cancelling_what_another_loop_awaits_reaches_the_coroutine(pool, until):
    async def ask():
        waiting = asyncio.wrap_future(pool.submit(sleep_well))
        assert await asyncio.to_thread(eventually, lambda: EVENTS == ["begun"])
        waiting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await waiting

    asyncio.run(ask())
    assert until(lambda: EVENTS == ["begun", "cleaned up"])


def test_a_timeout_cancels_the_coroutine_and_says_so(pool):
    with pytest.raises(whichever.TaskTimeoutError, match=r"longer than 0\.05 s"):
        pool.options(timeout=0.05).submit(sleep_well).result()
    assert EVENTS == ["begun", "cleaned up"]
    with whichever.AsyncPool(timeout=0.05) as strict, pytest.raises(TimeoutError):
        strict.submit(sleep_well).result()
    assert pool.options(timeout=30).submit(same, 2).result() == 2


def test_a_tasks_own_timeout_stays_its_own(pool):
    async def impatient():
        raise TimeoutError("mine")

    with pytest.raises(TimeoutError, match="mine") as caught:
        pool.options(timeout=30).submit(impatient).result()
    assert not isinstance(caught.value, whichever.TaskTimeoutError)


def test_waiting_for_itself_is_refused_instead_of_hanging(pool):
    async def ask_itself():
        return pool.submit(same, 1).result()

    async def end_itself():
        pool.shutdown()

    with pytest.raises(RuntimeError, match="wait for itself"):
        pool.submit(ask_itself).result()
    with pytest.raises(RuntimeError, match="wait for itself"):
        pool.submit(end_itself).result()


def test_a_task_may_hand_in_further_tasks_and_await_them(pool):
    async def outer():
        return await asyncio.wrap_future(pool.submit(same, 7))

    assert pool.submit(outer).result() == 7


@contextlib.asynccontextmanager
async def resource(name, loops):
    loops.append(asyncio.get_running_loop())
    EVENTS.append(f"{name} opened")
    yield
    loops.append(asyncio.get_running_loop())
    EVENTS.append(f"{name} closed")


async def use():
    EVENTS.append("used")


def test_a_resource_is_opened_before_the_first_task_and_closed_on_the_loop_after_the_last():
    loops = []
    with whichever.AsyncPool(initializer=resource, initargs=("session", loops)) as pool:
        pool.submit(use).result()
        pool.submit(use)
    assert EVENTS == ["session opened", "used", "used", "session closed"]
    assert loops[0] is loops[1]


def test_an_initializer_may_be_a_coroutine_function():
    with whichever.AsyncPool(initializer=use) as pool:
        pool.submit(use).result()
    assert EVENTS == ["used", "used"]


def test_what_fails_to_close_is_logged(caplog):
    @contextlib.asynccontextmanager
    async def broken():
        yield
        raise LookupError("not closed")

    with whichever.AsyncPool(initializer=broken) as pool:
        assert pool.submit(same, 1).result() == 1
    assert "could not close" in caplog.text
    assert "not closed" in caplog.text


def test_a_loop_factory_makes_the_loop():
    class Loop(asyncio.SelectorEventLoop):
        pass

    with whichever.AsyncPool(loop_factory=Loop) as pool:
        assert type(pool.submit(where).result()[1]) is Loop
    with pytest.raises(TypeError, match="loop_factory must be a callable"):
        whichever.AsyncPool(loop_factory=3)


def test_a_loop_that_cannot_be_made_or_is_stopped_breaks_the_pool():
    def no_loop():
        raise OSError("no loop")

    async def stop():
        asyncio.get_running_loop().stop()
        await asyncio.sleep(1000)

    for pool, task in ((whichever.AsyncPool(loop_factory=no_loop), use), (whichever.AsyncPool(), stop)):
        with pool, pytest.raises(whichever.PoolBrokenError):
            pool.submit(task).result()


def test_ending_at_once_cancels_what_runs_and_leaves_what_does_not_listen(until):
    gate = threading.Event()

    async def deaf():
        EVENTS.append("begun")
        gate.wait(20)

    with pytest.raises(KeyboardInterrupt), whichever.AsyncPool() as pool:
        polite = pool.submit(sleep_well)
        assert until(lambda: EVENTS)
        rude = pool.submit(deaf)
        assert until(lambda: len(EVENTS) == 2)
        raise KeyboardInterrupt
    assert polite.cancelled()
    assert rude.cancelled()
    gate.set()
    assert until(lambda: "cleaned up" in EVENTS)


def test_neither_results_nor_errors_are_held_by_the_pool(pool):
    class Thing:
        pass

    async def make(fails):
        thing = Thing()
        made.append(weakref.ref(thing))
        if fails:
            raise LookupError(thing)
        return thing

    made = []
    gc.disable()
    try:
        pool.submit(make, False).result()
        with contextlib.suppress(LookupError):
            pool.submit(make, True).result()
        pool.submit(same, 1).result()
        assert [reference() for reference in made] == [None, None]
    finally:
        gc.enable()


def test_a_thread_and_descriptors_end_with_the_pool():
    before = threading.active_count(), len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        with whichever.AsyncPool() as pool:
            pool.submit(same, 1).result()
    assert (threading.active_count(), len(os.listdir("/proc/self/fd"))) == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_is_refused_and_does_not_hang(start):
    program = start(
        """
        import asyncio, os, whichever
        async def same(item):
            return item
        pool = whichever.AsyncPool()
        pending = pool.submit(asyncio.sleep, 1)
        if (child := os.fork()) == 0:
            for wait in (lambda: pool.submit(same, 1), pending.result):
                try:
                    wait()
                except RuntimeError as error:
                    print("forked" in str(error), flush=True)
            pool.shutdown()
            with whichever.AsyncPool() as own:
                print(own.submit(same, 5).result(), flush=True)
        else:
            os.waitpid(child, 0)
        """,
        warnings="ignore",
    )
    out, err, code = program.finish()
    assert (out, err, code) == ("True\nTrue\n5\n", "", 0)


def test_daemon_cancels_at_exit_what_others_would_wait_for(start):
    program = start("""
        import asyncio, os, whichever
        async def serve():
            os.write(1, b"begun" + bytes([10]))
            try:
                await asyncio.sleep(1000)
            finally:
                os.write(1, b"ended" + bytes([10]))
        pool = whichever.AsyncPool(daemon=True)
        future = pool.submit(serve)
        while not future.running():
            pass
    """)
    out, err, code = program.finish()
    assert (out, err, code) == ("begun\nended\n", "", 0)


def test_statistics_say_how_tasks_ended_and_what_is_held():
    async def nap(seconds, error=None):
        await asyncio.sleep(seconds)
        if error is not None:
            raise error

    with whichever.AsyncPool(2) as pool:
        pool.submit(nap, 0).result()
        with pytest.raises(ValueError, match="bad"):
            pool.submit(nap, 0, ValueError("bad")).result()
        with pytest.raises(whichever.TaskTimeoutError):
            pool.options(timeout=0.01).submit(nap, 60).result()
        running = [pool.submit(nap, 60) for _ in range(2)]
        waiting = pool.submit(nap, 60)
        assert eventually(lambda: all(future.running() for future in running))
        held = pool.statistics()
        assert (held.running, held.waiting, held.cancelled) == (2, 1, 0)
        for future in (*running, waiting):
            future.cancel()
    ended = pool.statistics()
    assert (ended.submitted, ended.returned, ended.raised, ended.timed_out) == (6, 1, 1, 1)
    assert (ended.cancelled, ended.running, ended.waiting) == (3, 0, 0)
