"""Signals beside a process pool: whoever starts its workers, they end; Ctrl-C at a bad moment is not lost."""

import signal


def test_workers_end_that_a_thread_with_all_signals_blocked_has_started(start):
    program = start(
        """
        import signal, threading, whichever
        def use():
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            for _ in range(5):
                with whichever.ProcessPool(1) as pool:
                    pool.submit(abs, -1).result()
        thread = threading.Thread(target=use)
        thread.start()
        thread.join()
        print("over")
        """
    )
    assert program.finish() == ("over\n", "", 0)


def test_callbacks_block_no_signal_that_their_program_does_not(start):
    program = start(
        """
        import signal, threading, whichever
        def mask(*_):
            return signal.pthread_sigmask(signal.SIG_BLOCK, ())
        masks = []
        seen = threading.Event()
        def note(future):
            masks.append((threading.current_thread() is threading.main_thread(), mask()))
            seen.set()
        with whichever.ProcessPool(1) as pool:
            pool.submit(abs, -1).add_done_callback(note)
            seen.wait(30)
        print(masks == [(False, mask())])
        """
    )
    assert program.finish() == ("True\n", "", 0)


CTRL_C_WHILE = """
    import os, signal, time, whichever
    class Answer:
        def __init__(self, times):
            self.times = times
        def __setstate__(self, state):
            self.__dict__.update(state)
            if os.getpid() == parent and len(loads) < self.times:
                loads.append(1)
                os.kill(parent, signal.SIGINT)  # Ctrl-C, just now
                time.sleep(30)
    parent, loads = os.getpid(), []
    pool = whichever.ProcessPool(1)
    futures = [pool.submit(Answer, 1)]
    {wait}
    time.sleep(30)
    print("Ctrl-C was lost")
"""


def lost(start, wait):
    program = start(CTRL_C_WHILE.format(wait=wait))
    out, err, code = program.finish()
    assert err.rstrip().endswith("KeyboardInterrupt"), err
    return out, code


def test_ctrl_c_while_a_result_is_loaded_is_not_its_exception(start):
    wait = "assert futures[0].exception() is None"
    assert lost(start, wait) == ("", -signal.SIGINT)


def test_ctrl_c_while_a_result_is_loaded_for_who_waits_for_several_is_not_lost(start):
    wait = "import concurrent.futures; concurrent.futures.wait(futures)"
    assert lost(start, wait) == ("", -signal.SIGINT)
