"""The demonstration's server: what it answers, and that it never outlives whoever started it."""

import asyncio
import contextlib
import signal
import socket
import subprocess
import sys
import threading
import time
from urllib.request import urlopen

import pytest

from whichever.cli.demo import server, sockets, websocket

STARTED_BY_ANOTHER = """
import threading
from whichever.cli.demo import server
never = threading.Event()
with server.running(1) as port:
    print(port, flush=True)
    while not never.wait(0.05):  # a signal that comes just before a longer wait would not end it
        pass
"""


def until(condition, seconds=20.0):
    """Wait for a condition with a bound, on an event that is never set."""
    never = threading.Event()
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        never.wait(0.02)
    return True


def refused(port):
    with socket.socket() as attempt:
        attempt.settimeout(5)
        return attempt.connect_ex(("127.0.0.1", port)) != 0


def test_a_page_arrives_whole_and_not_before_the_delay():
    with server.running(40) as port:
        start = time.monotonic()
        with urlopen(f"http://127.0.0.1:{port}/page/3", timeout=20) as answer:
            body = answer.read().decode()
        assert time.monotonic() - start >= 0.04
    assert body == server.page(3)
    assert len(body.splitlines()) == server.ROWS + 1


def test_requests_wait_side_by_side():
    async def all_of_them(port):
        return await asyncio.gather(*(sockets.ask((port, str(number))) for number in range(50)))

    with server.running(100) as port:
        start = time.monotonic()
        answers = asyncio.run(all_of_them(port))
        assert time.monotonic() - start < 50 * 0.1
    assert answers == [str(number) for number in range(50)]


@pytest.mark.parametrize("length", [0, 1, 125, 126, 2000])
def test_messages_of_any_length_come_back(length):
    with server.running(0) as port:
        assert asyncio.run(sockets.ask((port, "x" * length))) == "x" * length


def test_the_handshake_is_that_of_the_rfcs_example():
    assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in websocket.accept(
        b"dGhlIHNhbXBsZSBub25jZQ=="
    )


def test_the_masked_message_is_that_of_the_rfcs_example():
    assert websocket.frame(b"Hello", bytes.fromhex("37fa213d")) == bytes.fromhex("818537fa213d7f9f4d5158")


def test_a_request_without_a_key_is_an_ordinary_one():
    assert websocket.key_in(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n") is None
    assert websocket.key_in(websocket.request(b"abc", 80)) == b"abc"


def test_the_server_is_gone_when_the_block_is_left():
    with server.running(0) as port:
        assert not refused(port)
    assert refused(port)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_server_ends_with_its_starter_however_that_ends(how):
    with subprocess.Popen(
        [sys.executable, "-c", STARTED_BY_ANOTHER], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as starter:
        try:
            port = int(starter.stdout.readline())
            assert not refused(port)
            starter.send_signal(how)
            starter.wait(20)
            assert until(lambda: refused(port))
        finally:
            starter.kill()


def test_a_server_that_cannot_start_is_an_error_and_not_a_wait(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(server.ServerError, match="ended at once"), server.running(0):
        pytest.fail("there is no server")


def test_the_server_ignores_a_client_that_hangs_up():
    with server.running(0) as port:
        with contextlib.closing(socket.create_connection(("127.0.0.1", port), timeout=20)) as client:
            client.sendall(b"GET /pa")
        assert asyncio.run(sockets.ask((port, "still there"))) == "still there"
