"""What is dropped without an end, a pool or a map that nobody reads, takes no Ctrl-C with it.

Python would: what a signal handler raises in ``__del__`` or in the callback of a weak reference goes nowhere.
"""

import pytest

PRESS = """
    import inspect, logging, signal, sys, time
    import whichever
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # a busy machine makes any callback slow
    ran = []
    async def adouble(number):
        double(number)
    def double(number):
        ran.append(number)
    task = adouble if "{kind}" == "AsyncPool" else double
    def press(frame, event, argument):
        # At the first of our own Python code that runs now, as a signal may come. No handler runs in a generator
        # that is thrown away before it has begun, though profilers see it enter.
        if event == "call" and not pressed and not frame.f_code.co_flags & inspect.CO_GENERATOR:
            sys.setprofile(None)
            pressed.append(frame.f_code.co_name)
            signal.raise_signal(signal.SIGINT)
    pressed, heard, end = [], False, time.monotonic() + 20
    pool = whichever.{kind}(1)
    pool.submit(task, 1).result()
"""
LISTEN = """
    try:
        sys.setprofile(press)
        del {dropped}
        sys.setprofile(None)
        while pressed and time.monotonic() < end:
            pass
    except KeyboardInterrupt:
        heard = True
    print(bool(pressed), heard)
"""


@pytest.mark.but("SerialPool", "ThreadPool")  # no Python code runs at their end
def test_ctrl_c_in_the_end_of_a_dropped_pool_is_heard_afterwards(start, kind):
    program = start(PRESS.format(kind=kind) + LISTEN.format(dropped="pool"))
    assert program.finish() == ("True True\n", "", 0)
    assert program.is_gone()


@pytest.mark.but(
    "SerialPool", "ThreadPool", "InterpreterPool", "ProcessPool"
)  # native, in this thread, or uncounted
def test_ctrl_c_in_the_end_of_a_map_that_nobody_reads_is_heard_and_no_task_is_lost(start, kind):
    program = start(
        PRESS.format(kind=kind)
        + """
    results = pool.map(task, range(1000))
    """
        + LISTEN.format(dropped="results")
        + """
    pool.shutdown()
    print(len(ran))
    """
    )
    assert program.finish() == ("True True\n1001\n", "", 0)
