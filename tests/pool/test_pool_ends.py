"""How programs with pools end: by themselves, killed, forked; and that nothing is left of them or of their pools."""

import os
import signal

import pytest
from watching import state_of, until

COUNTING = """
    import gc, os, pathlib, time
    import whichever
    SPARES = 4  # workers kept ready, a descriptor each, come and go; each of many pools would leave more
    def descriptors(): return len(os.listdir("/proc/self/fd"))
    def threads(): return len(os.listdir("/proc/self/task"))
    def until(condition):
        end = time.monotonic() + 15
        while not condition() and time.monotonic() < end: time.sleep(0.005)
        return condition()
"""


@pytest.mark.parametrize("holder", ["pool = ", ""])
def test_a_program_that_forgets_its_pool_runs_what_was_handed_in(start, tmp_path, holder):
    program = start(f"""
        import time, whichever
        def task(number):
            time.sleep(0.02)
            open(f"ran{{number}}", "w").close()
        {holder}[pool := whichever.ProcessPool(2)][0]
        for number in range(10):
            pool.submit(task, number)
        {"" if holder else "del pool"}
    """)
    assert program.finish() == ("", "", 0)
    assert program.is_gone()
    assert len(list(tmp_path.glob("ran*"))) == 10


def test_callbacks_of_the_last_tasks_run_at_exit(start):
    program = start("""
        import time, whichever
        pool = whichever.ProcessPool(1)
        pool.submit(time.sleep, 0.1).add_done_callback(lambda future: print("called back", future.done()))
    """)
    assert program.finish() == ("called back True\n", "", 0)


def test_at_exit_no_task_is_taken_any_more(start):
    program = start("""
        import time, whichever
        pool = whichever.ProcessPool(1)
        def more(future):
            try:
                pool.submit(abs, 1)
            except RuntimeError as error:
                print(error)
        pool.submit(time.sleep, 0.2).add_done_callback(more)
    """)
    assert program.finish() == ("cannot schedule new futures after interpreter shutdown\n", "", 0)


def test_a_program_that_ends_with_an_error_ends(start):
    program = start("""
        import whichever
        with whichever.ProcessPool(2) as pool:
            pool.submit(abs, 1).result()
            raise SystemExit(7)
    """)
    assert program.finish() == ("", "", 7)
    assert program.is_gone()


def test_an_open_map_does_not_hold_up_the_exit(start):
    program = start("""
        import itertools, whichever
        pool = whichever.ProcessPool(2)
        results = pool.map(abs, itertools.count())
        print(next(results), next(results))
    """)
    assert program.finish() == ("0 1\n", "", 0)
    assert program.is_gone()


@pytest.mark.parametrize("method", [None, "fork", "forkserver", "spawn"])
@pytest.mark.parametrize("state", ["busy", "idle"])
def test_a_killed_caller_leaves_no_process(start, method, state):
    context = f'multiprocessing.get_context("{method}")' if method else "None"
    program = start(
        f"""
        import multiprocessing, os, time, warnings, whichever
        def busy(item=None):
            os.write(1, b"busy" + bytes([10]))
            while True: pass
        if __name__ == "__main__":
            warnings.simplefilter("ignore", DeprecationWarning)
            pool = whichever.ProcessPool(2, mp_context={context})
            print(pool.submit(abs, -1).result(), flush=True)
            if {state == "busy"}:
                list(pool.map(busy, range(10)))
            print("idle", flush=True)
            time.sleep(1000)
        """
    )
    assert program.line() == "1"
    assert program.line() == state
    os.kill(program.process.pid, signal.SIGKILL)
    assert program.is_gone(10)


def test_a_forked_copy_of_the_caller_uses_a_pool_of_its_own_and_the_original_goes_on(start):
    program = start(
        """
        import os, sys, whichever
        pool = whichever.ProcessPool(2)
        print(pool.submit(abs, -1).result(), flush=True)
        child = os.fork()
        if not child:
            try:
                pool.submit(abs, -1).result(10)
            except RuntimeError as error:
                print("refused:", error, flush=True)
            pool.shutdown()
            with whichever.ProcessPool(1) as own:
                print(own.submit(abs, -2).result(), flush=True)
            sys.exit(0)
        print(os.waitpid(child, 0)[1], flush=True)
        print(pool.submit(abs, -3).result(), list(pool.map(abs, range(3))), flush=True)
        """,
        warnings="default",
    )
    out, err, code = program.finish()
    lines = out.splitlines()
    assert lines[0] == "1", err
    assert lines[1].startswith("refused: ")
    assert lines[2:] == ["2", "0", "3 [0, 1, 2]"]
    assert code == 0
    assert program.is_gone()


def test_a_fork_in_the_middle_of_tasks_disturbs_nobody(start):
    program = start(
        """
        import os, threading, whichever
        pool = whichever.ProcessPool(2)
        found = []
        thread = threading.Thread(target=lambda: found.extend(pool.map(abs, range(20_000))))
        thread.start()
        codes = []
        for _ in range(5):
            child = os.fork()
            if not child:
                os._exit(0)
            codes.append(os.waitpid(child, 0)[1])
        thread.join()
        print(codes, found == list(range(20_000)))
        """,
        warnings="ignore",
    )
    assert program.finish() == ("[0, 0, 0, 0, 0] True\n", "", 0)


def test_multiprocessing_children_of_the_caller_end_though_a_pool_is_open(start):
    program = start(
        """
        import multiprocessing, whichever
        pool = whichever.ProcessPool(1)
        print(pool.submit(abs, -1).result(), flush=True)
        child = multiprocessing.get_context("fork").Process(target=print, args=("child",))
        child.start()
        child.join(20)
        print(child.exitcode, pool.submit(abs, -2).result())
        """,
        warnings="ignore",
    )
    assert program.finish() == ("1\nchild\n0 2\n", "", 0)


def test_pools_leave_neither_descriptors_nor_threads_nor_memory(start):
    program = start(
        COUNTING
        + """
    def use():
        with whichever.ProcessPool(2) as pool:
            pool.warm_up()
            assert list(pool.map(bytes, [200_000] * 6))[0] == bytes(200_000)
            pool.submit(os._exit, 1).exception()
            pool.submit(len, bytes(300_000)).result()
    def mapped(): return pathlib.Path("/proc/self/maps").read_text().count("memfd")
    for _ in range(3): use()
    gc.collect()
    before = descriptors(), threads(), mapped()
    for _ in range(15): use()
    gc.collect()
    until(lambda: descriptors() <= before[0] + SPARES and threads() <= before[1])
    after = descriptors() - SPARES, threads(), mapped()
    print(all(now <= then for now, then in zip(after, before)), before, after)
    """
    )
    out, err, code = program.finish()
    assert out.startswith("True"), out
    assert (err, code) == ("", 0)


def test_pools_that_were_never_used_or_never_closed_leave_nothing(start):
    program = start(
        COUNTING
        + """
    def use():
        whichever.ProcessPool(2)
        pool = whichever.ProcessPool(2)
        pool.submit(abs, -1).result()
    for _ in range(3): use()
    gc.collect()
    until(lambda: threads() <= 3)
    before = descriptors(), threads()
    for _ in range(20): use()
    gc.collect()
    ended = until(lambda: descriptors() <= before[0] + SPARES and threads() <= before[1])
    print(ended, before, (descriptors(), threads()))
    """
    )
    out, err, code = program.finish()
    assert out.startswith("True"), out
    assert (err, code) == ("", 0)


def test_nothing_is_left_in_the_systems_shared_memory(start):
    before = set(os.listdir("/dev/shm"))
    program = start("""
        import os, whichever
        with whichever.ProcessPool(2) as pool:
            print(sum(map(len, pool.map(bytes, [1_000_000] * 10))))
        os.kill(os.getpid(), 9)
    """)
    assert program.line() == "10000000"
    program.finish()
    assert program.is_gone()
    assert set(os.listdir("/dev/shm")) <= before


def test_a_caller_that_is_killed_with_words_of_its_template_unread_ends_in_silence(start):
    program = start("""
        import os, signal, whichever
        pool = whichever.ProcessPool(1)
        print(pool.submit(os.getpid).result(), flush=True)
        os.kill(os.getpid(), signal.SIGSTOP)
    """)
    worker = int(program.line())
    assert until(lambda: state_of(program.process.pid) == "T")
    os.kill(worker, signal.SIGKILL)
    assert until(lambda: state_of(worker) is None), "the template has heard of it"
    program.process.kill()
    assert program.finish() == ("", "", -signal.SIGKILL)
    assert program.is_gone()


def test_a_deleted_working_folder_stops_no_pool(start, tmp_path):
    program = start("""
        import os, whichever
        os.mkdir("gone"); os.chdir("gone"); os.rmdir("../gone")
        print(whichever.ProcessPool(1).submit(abs, -1).result())
    """)
    assert program.finish() == ("1\n", "", 0)


def test_a_module_of_the_working_folder_is_not_taken_for_the_standard_librarys(start, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "json.py").write_text("raise SystemExit('not this one')")
    program = start("""
        import os, whichever
        os.chdir("elsewhere")
        print(whichever.ProcessPool(1).submit(abs, -1).result())
    """)
    assert program.finish() == ("1\n", "", 0)
