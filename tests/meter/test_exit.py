"""Programs that end while another thread of theirs is in a task below native code of ours."""

import pytest

END_WHILE = """
    import sys, threading, time
    import whichever
    from whichever.meter import Meter
    begun = threading.Event()
    def task(_item=None):
        begun.set()
        while True:
            time.sleep(0.001)
    def go():
        {way}
    class Last:
        def __del__(self, now=time.monotonic, sleep=time.sleep):
            end = now() + 0.3
            while now() < end:
                sleep(0.005)
    sys.modules["last"] = Last()  # goes when the interpreter has let nobody else in for a while
    threading.Thread(target=go, daemon=True).start()
    begun.wait(30)
    print("end")
"""
WAYS = {
    "a metered task": "\n        with Meter() as meter:\n            meter.call(task)",
    "items of a map": "list(whichever.ThreadPool(1).map(abs, map(task, [1, 2])))",
    "a callback": "whichever.SerialPool().submit(abs, -1).add_done_callback(task)",
}


@pytest.mark.parametrize("way", WAYS)
def test_a_program_ends_while_a_thread_is_in(start, way):
    assert start(END_WHILE.format(way=WAYS[way])).finish() == ("end\n", "", 0)
