"""Every kind of blocking call is named right: in at least nine of ten samples on a busy machine."""

import os
import pty
import select
import socket
import subprocess
import sys
import threading

import pytest

from whichever.meter import Meter

MS = 1_000_000
FEED_MS = 150

pytestmark = pytest.mark.usefixtures("truth")


def blocked_share(task, kind):
    with Meter() as meter:
        meter.call(task)
    ledger = meter.ledger()
    blocked = sum(ledger.blocked.values())
    assert blocked > 0.3 * ledger.wall, ledger
    return ledger.blocked.get(kind, 0.0) / blocked


def fed_read(truth, reader, writer):
    def task():
        truth.held.truth_feed_after(writer, FEED_MS * MS)
        truth.released.truth_read(reader)

    return task


def test_a_pipe_is_a_pipe(truth):
    reader, writer = os.pipe()
    assert blocked_share(fed_read(truth, reader, writer), "pipe") > 0.9
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize("timeout", [None, 10.0])
def test_a_socket_is_network_with_and_without_a_timeout(truth, timeout):
    here, there = socket.socketpair()
    with here, there:
        here.settimeout(timeout)

        def task():
            truth.held.truth_feed_after(there.fileno(), FEED_MS * MS)
            here.recv(1)

        assert blocked_share(task, "network") > 0.9


def test_a_terminal_is_a_terminal(truth):
    controller, terminal = pty.openpty()

    def task():
        truth.held.truth_feed_after(terminal, FEED_MS * MS)
        truth.released.truth_read(controller)

    assert blocked_share(task, "terminal") > 0.9
    os.close(controller)
    os.close(terminal)


def test_a_sleep_is_a_sleep(truth):
    assert blocked_share(lambda: truth.released.truth_sleep(FEED_MS * MS), "sleep") > 0.9


def test_a_lock_is_a_lock(truth):
    lock = threading.Lock()
    lock.acquire()

    def let_go():
        truth.released.truth_sleep(FEED_MS * MS)
        lock.release()

    other = threading.Thread(target=let_go)
    other.start()
    assert blocked_share(lock.acquire, "lock") > 0.9
    other.join(30)


def test_several_descriptors_are_a_poll(truth):
    pipes = [os.pipe(), os.pipe()]

    def task():
        truth.held.truth_feed_after(pipes[0][1], FEED_MS * MS)
        select.select([reader for reader, _ in pipes], [], [], 10)

    assert blocked_share(task, "poll") > 0.9
    for descriptor in sum(pipes, ()):
        os.close(descriptor)


def test_a_child_is_a_child_and_its_cpu_is_charged():
    spin = "import time\nwhile time.process_time() < 0.2: pass"

    def task():
        child = subprocess.Popen([sys.executable, "-S", "-c", spin])
        assert child.wait() == 0

    with Meter() as meter:
        meter.call(task)
    ledger = meter.ledger()
    assert ledger.blocked["child"] > 0.7 * sum(ledger.blocked.values())
    assert 0.15 < ledger.child_cpu < 1.5


def test_forcing_data_to_disk_is_file(tmp_path):
    data = os.urandom(1 << 20)
    descriptor = os.open(tmp_path / "data", os.O_CREAT | os.O_WRONLY)

    def task():
        for _ in range(20):
            os.pwrite(descriptor, data, 0)
            os.fsync(descriptor)

    with Meter() as meter:
        meter.call(task)
    os.close(descriptor)
    ledger = meter.ledger()
    blocked = sum(ledger.blocked.values())
    if blocked < 0.02:
        pytest.skip("this disk does not block")
    assert ledger.blocked.get("file", 0.0) > 0.9 * blocked
