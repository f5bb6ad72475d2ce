"""When the system has no more to give: a clear error for the task or the pool, and a pool that goes on."""

import atexit
import contextlib
import errno
import os
import socket
import subprocess
import sys
import textwrap
from collections import deque
from concurrent.futures.process import BrokenProcessPool

import pool_tasks as tasks
import pytest
from watching import until

from whichever import _core
from whichever.executors import _crew, _host, _template


def run(tmp_path, text):
    """Run a program in a process whose limits are its own; return what it printed."""
    script = tmp_path / "limited.py"
    script.write_text(textwrap.dedent(text))
    ended = subprocess.run(
        [sys.executable, "-X", "dev", str(script)],
        cwd=tmp_path, capture_output=True, text=True, timeout=35, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines(), ended.stderr


def test_a_result_too_large_for_memory_is_an_error_of_its_task(tmp_path):
    out, err = run(
        tmp_path,
        """
        import resource, whichever
        def limit(): resource.setrlimit(resource.RLIMIT_FSIZE, (20_000_000, 20_000_000))
        def ignore():
            import signal
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            limit()
        with whichever.ProcessPool(1, initializer=ignore) as pool:
            error = pool.submit(bytes, 60_000_000).exception()
            print(type(error).__name__, len(str(error)) > 10)
            error = pool.submit(lambda: {"deep": ["x" * 60_000_000]}).exception()
            print(type(error).__name__)
            print(len(pool.submit(bytes, 1_000_000).result()), pool.statistics().workers_died)
        """,
    )
    assert out == ["MemoryError True", "MemoryError", "1000000 0"], err


def test_an_argument_too_large_for_shared_memory_is_an_error_of_its_task(tmp_path):
    out, err = run(
        tmp_path,
        """
        import resource, signal, whichever
        with whichever.ProcessPool(1) as pool:
            print(pool.submit(len, b"x" * 100_000).result())
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000_000, hard))
            large = b"x" * 60_000_000
            for fn, argument in ((len, large), (str, [large]), (sorted, large.decode())):
                error = pool.submit(fn, argument).exception()
                print(type(error).__name__, len(str(error)) > 10)
            try:
                list(pool.map(len, [b"a", large]))
            except MemoryError:
                print("map")
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            print(pool.submit(len, large).result(), pool.statistics().workers_died)
        """,
    )
    assert out == ["100000", *["MemoryError True"] * 3, "map", "60000000 0"], err


def test_sharing_more_than_there_is_room_for_is_a_memory_error(tmp_path):
    pytest.importorskip("numpy")
    out, err = run(
        tmp_path,
        """
        import numpy as np, resource, signal, whichever
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000_000, hard))
        try:
            whichever.share(np.zeros(60_000_000, dtype="u1"))
        except MemoryError:
            print("refused")
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        print(int(whichever.ProcessPool(1).submit(np.sum, whichever.share(np.ones(100_000))).result()))
        """,
    )
    assert out == ["refused", "100000"], err


def test_a_worker_with_too_little_memory_reports_it_and_goes_on(tmp_path):
    out, err = run(
        tmp_path,
        """
        import resource, whichever
        def limit():
            resource.setrlimit(resource.RLIMIT_AS, (2_000_000_000, 2_000_000_000))
        with whichever.ProcessPool(1, initializer=limit) as pool:
            print(type(pool.submit(bytearray, 4_000_000_000).exception()).__name__)
            print(pool.submit(abs, -1).result(), pool.statistics().workers_died)
        """,
    )
    assert out == ["MemoryError", "1 0"], err


def test_no_descriptors_left_is_a_clear_error_and_the_pool_recovers(tmp_path):
    out, err = run(
        tmp_path,
        """
        import os, resource, whichever
        from concurrent.futures.process import BrokenProcessPool
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        pool = whichever.ProcessPool(2)
        print(pool.submit(abs, -1).result())
        other = whichever.ProcessPool(1)
        resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")), hard))
        error = other.submit(abs, -2).exception()
        print(isinstance(error, BrokenProcessPool), "Too many open files" in str(error))
        print(pool.submit(abs, -3).result())
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        print(other.submit(abs, -4).result(), list(pool.map(abs, range(3))))
        """,
    )
    assert out == ["1", "True True", "3", "4 [0, 1, 2]"], err


def test_a_first_pool_without_descriptors_says_so(tmp_path):
    out, err = run(
        tmp_path,
        """
        import os, resource, whichever
        whichever._core; whichever.ProcessPool
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 1, hard))
        try:
            whichever.ProcessPool(1).submit(abs, -1).result()
        except (OSError, whichever.WhicheverError) as error:
            print("Too many open files" in str(error))
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        print(whichever.ProcessPool(1).submit(abs, -1).result())
        """,
    )
    assert out == ["True", "1"], err


class RefusingTemplate:
    """Answers every order for a worker as a template does whose fork fails for want of processes."""

    def __init__(self, limits):
        self.limits, self.modules, self.spares = limits, frozenset(), deque()
        self._control, self._far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._number = _core.adopt_template(self._control.fileno())
        self._ends = []

    def learn(self, modules):
        pass

    def fork(self):
        token = _template.new_token()
        _core.belongs_to_template(token, self._number)
        ours, theirs = socket.socketpair()
        self._ends.append(theirs)
        self._far.send(_template.PACKET.pack(b"E", errno.EAGAIN, token, 0, 0))
        return _template.Spare(token, ours, frozenset())

    def has_ended(self):
        return False

    def hang_up(self):
        while self.spares:
            self.spares.popleft().socket.close()
        for end in (self._control, self._far, *self._ends):
            end.close()

    def wait(self, seconds):
        pass


@pytest.fixture
def no_forks():
    """A context: while it is open, no worker that is ordered can be forked. Ask for it before the pool."""
    refusing = _crew.Crew()

    @contextlib.contextmanager
    def refused():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_crew, "Template", RefusingTemplate)
            patch.setattr(_host, "crew", refusing)
            yield

    yield refused
    # The pool is gone by now: until then it may have asked once more, and so made one more template.
    refusing.close()
    atexit.unregister(refusing.close)


def test_a_fork_that_fails_is_a_clear_error_and_the_pool_recovers(no_forks, make_pool):
    pool = make_pool(2)
    with no_forks():
        error = pool.submit(abs, -1).exception(20)
    assert isinstance(error, BrokenProcessPool)
    assert os.strerror(errno.EAGAIN) in str(error)
    assert pool.submit(abs, -2).result(20) == 2


def test_a_fork_that_fails_beside_a_worker_costs_nothing(no_forks, make_pool, tmp_path):
    pool = make_pool(3)
    gate = tmp_path / "gate"
    first = pool.submit(tasks.wait_for, str(tmp_path / "runs"), str(gate))
    assert until(first.running)
    with no_forks():
        handed_in = [pool.submit(tasks.square, number) for number in range(20)]
        gate.touch()
        assert [future.result(20) for future in handed_in] == [number * number for number in range(20)]
    assert isinstance(first.result(), int)
