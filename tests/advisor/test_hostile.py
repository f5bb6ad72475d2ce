"""What functions and callers may do to us: an answer or a clear error, and nothing left behind."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

import whichever

BOUND_S = 60


def run_script(text, *, how="file", tmp_path=None, check=True, env=None):
    """Run a script as a program of its own and give what it printed."""
    source = textwrap.dedent(text)
    if how == "file":
        path = tmp_path / "script.py"
        path.write_text(source)
        command, given = [sys.executable, str(path)], None
    elif how == "stdin":
        command, given = [sys.executable, "-"], source
    else:
        command, given = [sys.executable, "-c", source], None
    done = subprocess.run(
        command, input=given, capture_output=True, text=True, timeout=BOUND_S, check=False, env=env
    )
    if check:
        assert done.returncode == 0, done.stderr
    return done


UNGUARDED = """
    import whichever

    def spin(rounds):
        total = 0
        for k in range(rounds):
            total += k & 7
        return total

    verdict = whichever.which(spin, [100_000] * 30, verify=True, engines=["processes", "serial"])
    print(sorted(f.engine for f in verdict.forecasts if f.measured is not None))
"""


@pytest.mark.parametrize("how", ["file", "stdin", "command"])
def test_processes_need_no_main_guard(how, tmp_path):
    done = run_script(UNGUARDED, how=how, tmp_path=tmp_path)
    assert done.stdout.split("[")[1] == "'processes', 'serial']\n"
    assert done.stdout.count("[") == 1
    assert done.stderr == ""


def test_a_task_that_calls_sys_exit_fails_alone():
    def leaves(item):
        if item == 0:
            sys.exit(3)
        return sum(range(1000))

    verdict = whichever.which(leaves, range(30))
    assert [failure.index for failure in verdict.failures] == [0]
    assert isinstance(verdict.failures[0].error, SystemExit)


def test_a_task_may_fork():
    def forks(item):
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
        return item

    if sys.version_info >= (3, 12):
        pytest.skip("CPython 3.12 and later warn of a fork beside threads, and warnings are errors here")
    verdict = whichever.which(forks, range(30), engines=["serial"])
    assert len(verdict.samples) == len({item for item, _ in verdict.samples}) > 0


def test_a_fork_that_comes_back_in_the_child_does_not_measure_twice(tmp_path):
    done = run_script(
        """
        import os, sys, warnings
        warnings.simplefilter("ignore")
        import whichever
        def forks(item):
            os.fork()
            return item
        try:
            whichever.which(forks, range(4), engines=["serial"])
        except whichever.WhicheverError as error:
            assert "forked" in str(error)
            os._exit(0)
        print("parent done")
        """,
        tmp_path=tmp_path,
    )
    assert done.stdout == "parent done\n"


def test_a_task_may_start_threads():
    def starts(item):
        thread = threading.Thread(target=time.sleep, args=(0.001,))
        thread.start()
        thread.join()
        return item

    assert whichever.which(starts, range(50)).samples


def test_a_changed_signal_mask_stays_as_the_task_left_it():
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])

    def blocks(item):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
        return item

    try:
        assert whichever.which(blocks, range(30), engines=["serial"]).samples
        assert signal.SIGUSR1 in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def test_a_task_that_prints_a_lot_prints_it_once(capfd):
    def prints(item):
        sys.stdout.write("x" * 2000 + "\n")
        return item

    verdict = whichever.which(prints, range(200), engines=["serial", "threads"])
    assert capfd.readouterr().out.count("x" * 2000) == len(verdict.samples)


def test_huge_items_are_not_copied_again_and_again():
    blocks = [bytearray(150_000_000) for _ in range(3)]
    verdict = whichever.which(len, blocks)
    assert verdict.engine == "serial"
    assert [result for _, result in verdict.samples] == [150_000_000] * len(verdict.samples)


@pytest.mark.parametrize("where", ["sampling", "threads", "processes"])
def test_ctrl_c_ends_a_task_that_never_ends_and_leaves_no_process(where, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(f"""
        import os, threading, time
        import whichever
        main = (os.getpid(), threading.main_thread().ident)
        def task(item):
            here = (os.getpid(), threading.get_ident())
            if {where!r} == "sampling" or here != main:
                os.write(1, b"stuck\\n")  # in one piece, whoever else writes
                while True:
                    time.sleep(0.01)
            return sum(range(200_000))
        whichever.machine()
        whichever.which(task, [0] * 200, verify=True, engines=["serial", {where!r}]
                        if {where!r} != "sampling" else ["serial"])
        """)
    )
    process = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout.readline() == "stuck\n"
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=10)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    assert process.returncode != 0
    assert errors.count("KeyboardInterrupt") == 1, errors
    assert wait_until(lambda: not group_members(process.pid)), group_members(process.pid)


def group_members(group):
    members = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            members.append(int(folder.name))
    return members


def wait_until(condition, bound=5.0):
    end = time.monotonic() + bound
    while time.monotonic() < end:
        if condition():
            return True
        threading.Event().wait(0.02)
    return condition()


def descriptors_open():
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_question_leaves_no_thread_no_process_and_no_descriptor():
    def work(item):
        return sum(range(50_000))

    whichever.which(work, [0] * 60, verify=True)
    threads, descriptors = threading.active_count(), descriptors_open()
    for _ in range(3):
        whichever.which(work, [0] * 60, verify=True)
    assert wait_until(lambda: threading.active_count() <= threads)
    assert wait_until(lambda: descriptors_open() <= descriptors)


def test_it_works_in_ipython(tmp_path):
    pytest.importorskip("IPython")
    script = tmp_path / "cell.ipy"
    script.write_text(
        "import whichever\ndef spin(n):\n    return sum(range(n))\n"
        "%load_ext whichever\nverdict = %which spin([50_000] * 40)\nprint(verdict)\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "IPython", "--no-banner", "--quick", str(script)],
        capture_output=True,
        text=True,
        timeout=BOUND_S,
        check=False,
        env=os.environ | {"IPYTHONDIR": str(tmp_path), "NO_COLOR": "1"},
    )
    assert "serial" in done.stdout, done.stderr


def test_a_task_that_kills_its_worker_costs_the_verdict_one_engine():
    here = os.getpid()

    def deadly(item):
        if os.getpid() != here and item == 199:
            os.kill(os.getpid(), signal.SIGKILL)
        return sum(range(20_000))

    verdict = whichever.which(deadly, range(200), engines=["serial", "processes"], verify=True)
    assert verdict.engine == "serial"
    assert "SIGKILL" in verdict.excluded["processes"]
