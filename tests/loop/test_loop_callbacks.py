"""Callbacks: when they run, in which order, in which context, and what becomes of their errors."""

import asyncio
import contextvars
import gc
import logging
import sys
import threading
import weakref

import pytest

import whichever

NAME = contextvars.ContextVar("NAME", default="nobody")


def drain(loop):
    """Run what is ready, and what that makes ready at once."""
    loop.call_soon(loop.stop)
    loop.run_forever()


def test_callbacks_run_in_the_order_they_were_given(loop):
    seen = []
    for number in range(1000):
        loop.call_soon(seen.append, number)
    drain(loop)
    assert seen == list(range(1000))


@pytest.mark.parametrize("count", range(6))
def test_a_callback_gets_its_arguments(loop, count):
    seen = []
    loop.call_soon(lambda *arguments: seen.append(arguments), *range(count))
    drain(loop)
    assert seen == [tuple(range(count))]


@pytest.mark.parametrize("count", range(4))
def test_a_handle_names_its_arguments(loop, count):
    assert loop.call_soon(lambda *_: None, *range(count))._args == tuple(range(count))


def test_a_callback_may_be_given_by_name(loop):
    seen = []
    loop.call_soon(callback=lambda: seen.append("soon"), context=None)
    loop.call_later(delay=0, callback=lambda: seen.append("later"))
    loop.call_at(when=loop.time(), callback=lambda: seen.append("at"))
    drain(loop)
    assert sorted(seen) == ["at", "later", "soon"]


@pytest.mark.parametrize("method", ["call_soon", "call_soon_threadsafe", "call_later", "call_at"])
@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ((), {}),
        ((0, len), {"contxt": None}),
        ((0, len), {"callback": len}),
        ((), {"callback": len, "context": None, "other": 1}),
        ((object(),), {}),
    ],
)
def test_a_call_that_cannot_be_made_is_refused(loop, method, arguments, options):
    if method.startswith("call_soon") and len(arguments) == 1:
        arguments = ()
    with pytest.raises(TypeError, match=r"argument|number"):
        getattr(loop, method)(*arguments, **options)


def test_only_a_loop_has_the_methods_of_a_loop():
    with pytest.raises(TypeError, match="call_soon"):
        whichever.EventLoop.call_soon(object(), len)


def test_what_a_callback_schedules_runs_in_the_next_turn(loop):
    seen = []

    def first():
        seen.append("first")
        loop.call_soon(seen.append, "third")

    loop.call_soon(first)
    loop.call_soon(seen.append, "second")
    drain(loop)
    # Stop was asked for before the third was given, so it has not run.
    assert seen == ["first", "second"]
    drain(loop)
    assert seen == ["first", "second", "third"]


def test_a_cancelled_callback_does_not_run_and_lets_go_of_its_arguments(loop):
    class Thing:
        pass

    thing, seen = Thing(), []
    handle = loop.call_soon(seen.append, thing)
    watched = weakref.ref(thing)
    del thing
    assert not handle.cancelled()
    handle.cancel()
    assert handle.cancelled()
    gc.collect()
    assert watched() is None
    drain(loop)
    assert seen == []


def test_a_callback_may_cancel_one_that_is_due_in_the_same_turn(loop):
    seen = []
    loop.call_soon(lambda: later.cancel())
    later = loop.call_soon(seen.append, 1)
    drain(loop)
    assert seen == []


def test_the_loop_lets_go_of_what_has_run(loop):
    class Thing:
        def __call__(self):
            pass

    thing = Thing()
    watched = weakref.ref(thing)
    handle = loop.call_soon(thing)
    del handle
    drain(loop)
    del thing
    gc.collect()
    assert watched() is None


def test_an_error_goes_to_the_handler_and_the_others_still_run(loop):
    seen = []
    loop.call_soon(lambda: 1 / 0)
    loop.call_soon(seen.append, "after")
    drain(loop)
    assert seen == ["after"]
    (context,) = loop.told
    assert isinstance(context["exception"], ZeroDivisionError)
    assert "test_loop_callbacks" in context["message"]
    assert isinstance(context["handle"], asyncio.Handle)
    loop.told.clear()


def test_without_a_handler_an_error_is_logged_with_its_trace(loop, caplog):
    loop.set_exception_handler(None)
    loop.call_soon(lambda: 1 / 0)
    with caplog.at_level(logging.ERROR, "asyncio"):
        drain(loop)
    assert "Exception in callback" in caplog.text
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_an_exit_leaves_run_forever_and_the_loop_can_go_on(loop, kind):
    def leave():
        raise kind

    seen = []
    loop.call_soon(leave)
    loop.call_soon(seen.append, "after")
    with pytest.raises(kind):
        loop.run_forever()
    assert not loop.is_running()
    drain(loop)
    assert seen == ["after"]


def test_a_callback_runs_in_the_context_of_its_scheduling(loop):
    seen = []

    def look():
        seen.append(NAME.get())
        NAME.set("changed inside")

    token = NAME.set("ada")
    loop.call_soon(look)
    loop.call_later(0, look)
    NAME.reset(token)
    loop.call_soon_threadsafe(look)
    drain(loop)
    drain(loop)
    assert sorted(seen) == ["ada", "ada", "nobody"]
    assert NAME.get() == "nobody"


def test_a_callback_runs_in_the_context_it_is_given(loop):
    context = contextvars.copy_context()
    context.run(NAME.set, "grace")
    seen = []
    loop.call_soon(lambda: seen.append(NAME.get()), context=context)
    loop.call_soon(lambda: NAME.set("changed"), context=context)
    loop.call_later(0, lambda: seen.append(NAME.get()), context=context)
    drain(loop)
    drain(loop)
    assert seen == ["grace", "changed"]


def test_callbacks_of_the_same_circumstances_do_not_see_what_each_other_sets(loop):
    seen = []

    def look(name):
        seen.append(NAME.get())
        NAME.set(name)

    for name in "abc":
        loop.call_soon(look, name)
    token = NAME.set("ada")
    for name in "def":
        loop.call_soon(look, name)
    NAME.reset(token)
    drain(loop)
    assert seen == ["nobody"] * 3 + ["ada"] * 3
    assert NAME.get() == "nobody"


def test_a_callback_runs_in_the_context_that_its_handle_names(loop):
    handles = [loop.call_soon(NAME.set, "changed") for _ in range(2)]
    if not hasattr(handles[0], "get_context"):
        pytest.skip("this asyncio's handles do not tell")
    contexts = [handle.get_context() for handle in handles]
    assert contexts[0] is not contexts[1]
    assert handles[0].get_context() is contexts[0]
    contexts[0].run(NAME.set, "ada")
    drain(loop)
    assert [context[NAME] for context in contexts] == ["changed", "changed"]


def test_a_callback_that_failed_keeps_the_context_it_ran_in(loop):
    def fail():
        NAME.set("failed")
        raise ZeroDivisionError

    seen = []
    loop.set_exception_handler(lambda _, context: seen.append(context["handle"].get_context()[NAME]))
    if not hasattr(loop.call_soon(fail), "get_context"):
        pytest.skip("this asyncio's handles do not tell")
    drain(loop)
    assert seen == ["failed"]


def test_what_a_variable_held_is_let_go_when_the_loop_rests(loop):
    class Thing:
        pass

    def schedule():
        thing = Thing()
        NAME.set(thing)
        loop.call_soon(loop.stop)
        return weakref.ref(thing)

    watched = contextvars.copy_context().run(schedule)
    loop.run_forever()
    assert watched() is None


def test_a_call_from_a_thread_wakes_a_loop_that_sleeps(loop):
    seen = []

    def other():
        loop.call_soon_threadsafe(seen.append, threading.get_ident())
        loop.call_soon_threadsafe(loop.stop)

    thread = threading.Timer(0.05, other)
    thread.start()
    loop.run_forever()
    thread.join()
    assert seen == [thread.ident]


def test_calls_from_threads_keep_their_order_and_none_is_lost(loop):
    seen = {number: [] for number in range(4)}
    running = threading.Semaphore(0)

    def other(number):
        for index in range(5000):
            loop.call_soon_threadsafe(seen[number].append, index)
        running.release()

    threads = [threading.Thread(target=other, args=(number,)) for number in seen]

    async def main():
        for thread in threads:
            thread.start()
        while any(len(one) < 5000 for one in seen.values()):  # noqa: ASYNC110 - the loop is what is tested
            await asyncio.sleep(0)

    loop.run_until_complete(asyncio.wait_for(main(), 30))
    for thread in threads:
        thread.join()
    assert all(one == list(range(5000)) for one in seen.values())


def test_a_callback_must_be_callable_in_debug_mode(loop):
    loop.set_debug(True)
    with pytest.raises(TypeError, match="callable"):
        loop.call_soon(1)
    with pytest.raises(TypeError, match="coroutine"):
        loop.call_soon(coroutine_function)


async def coroutine_function():
    pass


def test_debug_mode_refuses_a_call_from_another_thread(loop):
    loop.set_debug(True)
    raised = []

    def other():
        try:
            loop.call_soon(print)
        except RuntimeError as error:
            raised.append(str(error))

    def start():
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()

    loop.call_soon(start)
    drain(loop)
    assert len(raised) == 1
    assert "Non-thread-safe" in raised[0]


def test_debug_mode_names_a_slow_callback(loop, caplog):
    loop.set_debug(True)
    loop.slow_callback_duration = 0

    def dawdle():
        sum(range(1000))

    with caplog.at_level(logging.WARNING, "asyncio"):
        loop.call_soon(dawdle)
        drain(loop)
    assert "dawdle" in caplog.text
    assert "took" in caplog.text


def test_a_handle_shows_its_callback_and_its_state(loop):
    def named():
        pass

    handle = loop.call_soon(named)
    assert isinstance(handle, asyncio.Handle)
    assert "named" in repr(handle)
    handle.cancel()
    assert "cancelled" in repr(handle)
    timer = loop.call_later(10, named)
    assert isinstance(timer, asyncio.TimerHandle)
    assert "named" in repr(timer)
    assert "when=" in repr(timer)
    timer.cancel()


def test_an_eager_task_runs_before_the_call_returns(loop):
    if not hasattr(asyncio, "eager_task_factory"):
        pytest.skip("this CPython has no eager tasks")
    loop.set_task_factory(asyncio.eager_task_factory)
    seen = []

    async def quick():
        seen.append("quick")

    async def main():
        asyncio.create_task(quick())  # noqa: RUF006 - has ended by then
        assert seen == ["quick"]

    loop.run_until_complete(main())


def test_a_task_may_ask_to_start_at_once(kind, loop):
    if sys.version_info < (3, 12) or (kind == "asyncio" and sys.version_info < (3, 13, 3)):
        pytest.skip("this asyncio has no eager tasks, or has no way to ask for one")
    seen = []

    async def quick(name):
        seen.append(name)

    async def main():
        late = loop.create_task(quick("late"))
        loop.create_task(quick("early"), eager_start=True)
        assert seen == ["early"]
        await late

    loop.run_until_complete(main())
    assert seen == ["early", "late"]


def test_a_task_that_does_not_ask_starts_later_and_may_say_so(kind, loop):
    if kind == "asyncio" and sys.version_info < (3, 13, 3):
        pytest.skip("this asyncio knows no such word")

    async def nothing():
        return 5

    async def main():
        return await loop.create_task(nothing(), name="named", eager_start=None)

    assert loop.run_until_complete(main()) == 5


@pytest.mark.skipif(sys.version_info < (3, 14), reason="before 3.14 nobody waits")
class TestHandlesOfOtherThreads:
    @pytest.mark.parametrize("asks", ["cancel", "cancelled"])
    def test_whoever_asks_while_the_callback_runs_waits_for_its_end(self, loop, asks):
        began, goes_on, over = threading.Event(), threading.Event(), threading.Event()
        order = []

        def callback():
            began.set()
            assert goes_on.wait(20)
            order.append("callback")
            over.set()

        def elsewhere():
            handle = loop.call_soon_threadsafe(callback)
            assert began.wait(20)
            goes_on.set()
            getattr(handle, asks)()
            order.append(asks if over.is_set() else "too early")
            loop.call_soon_threadsafe(loop.stop)

        thread = threading.Thread(target=elsewhere)
        thread.start()
        loop.run_forever()
        thread.join()
        assert order == ["callback", asks]

    def test_a_callback_may_cancel_itself(self, loop):
        handles = []

        def callback():
            handles[0].cancel()
            loop.stop()

        handles.append(loop.call_soon_threadsafe(callback))
        loop.run_forever()
        assert handles[0].cancelled()

    def test_a_callback_that_raises_is_waited_for_no_longer(self, loop):
        handle = loop.call_soon_threadsafe(divmod, 1, 0)
        loop.call_soon(loop.stop)
        loop.run_forever()
        loop.told.clear()
        answers = []
        thread = threading.Thread(target=lambda: answers.append(handle.cancelled()))
        thread.start()
        thread.join(20)
        assert answers == [False]

    def test_they_pass_for_asyncios(self, loop):
        handle = loop.call_soon_threadsafe(int)
        assert isinstance(handle, asyncio.events._ThreadSafeHandle)
        assert not isinstance(loop.call_soon(int), asyncio.events._ThreadSafeHandle)
        handle.cancel()
