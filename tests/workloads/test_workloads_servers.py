"""Servers speak what they promise, wait as long as they are told, and die with who started them."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from workloads.servers import frames, running
from workloads.tasks import web

ROOT = Path(__file__).resolve().parents[2]
BOUND_SECONDS = 20.0


def _listens(port):
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", int(port))) == 0


def _wait_until(condition):
    deadline = time.monotonic() + BOUND_SECONDS
    while not condition():
        assert time.monotonic() < deadline


def test_a_server_is_gone_when_its_context_ends():
    with running("web") as ports:
        assert all(map(_listens, ports))
    assert not any(map(_listens, ports))


def _ports_of_a_killed_starter(server):
    """Start a server from a process of its own, kill that process outright, and return the server's ports."""
    program = f"""from workloads.servers import running
with running({server!r}) as ports:
    print(*ports, flush=True)
    input()"""
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as starter:
        ports = starter.stdout.readline().split()
        assert ports
        assert all(map(_listens, ports))
        starter.send_signal(signal.SIGKILL)
    return ports


@pytest.mark.parametrize(("server", "workload"), [("web", "urllib_5ms"), ("postgres", "psycopg_lookups")])
def test_a_server_is_gone_when_its_starter_is_killed(server, workload, here, own_temporary_folder):
    here(workload)
    ports = _ports_of_a_killed_starter(server)
    _wait_until(lambda: not any(map(_listens, ports)))
    _wait_until(lambda: not list(own_temporary_folder.iterdir()))


def test_a_server_that_does_not_start_is_said_by_name():
    with pytest.raises(RuntimeError, match="the frames server did not start"), running("frames"):
        pass


def test_an_answer_takes_at_least_its_delay():
    with web.web_server() as (base, _):
        started = time.perf_counter()
        web.download(f"{base}/delay/50")
        assert time.perf_counter() - started >= 0.05


def test_many_clients_wait_at_the_same_time():
    async def fetch_all(url):
        return await asyncio.gather(*(web.download_by_streams(url) for _ in range(40)))

    with web.web_server() as (base, _):
        started = time.perf_counter()
        sizes = asyncio.run(fetch_all(f"{base}/delay/200"))
        seconds = time.perf_counter() - started
    assert len(set(sizes)) == 1
    assert sizes[0] >= 1000
    assert seconds < 40 * 0.2 / 2


def test_one_connection_serves_several_requests():
    with web.web_server() as (base, _):
        address = urlsplit(base)
        with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
            stream = connection.makefile("rb")
            for _ in range(3):
                connection.sendall(b"GET /delay/0 HTTP/1.1\r\nHost: here\r\n\r\n")
                assert stream.readline() == b"HTTP/1.1 200 OK\r\n"
                fields = dict(line.rstrip().split(b": ") for line in iter(stream.readline, b"\r\n"))
                assert len(stream.read(int(fields[b"Content-Length"]))) >= 1000


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536])
@pytest.mark.parametrize("masked", [True, False])
def test_a_frame_is_read_as_it_was_written(size, masked):
    async def read_back(raw):
        reader = asyncio.StreamReader()
        reader.feed_data(raw)
        return await frames.read(reader)

    payload = os.urandom(size)
    assert asyncio.run(read_back(frames.encode(payload, masked=masked))) == (frames.TEXT, payload)


def test_the_handshake_answers_as_the_standard_s_example_does():
    assert frames.accept_key(b"dGhlIHNhbXBsZSBub25jZQ==") == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
