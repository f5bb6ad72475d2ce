"""How TCP connections begin and end: accepting, connecting, what a transport knows of its socket, descriptors."""

import asyncio
import contextlib
import contextvars
import errno
import gc
import os
import resource
import socket
import warnings

import pytest
from peers import Echo, Recorder, connected, plain_client, served, until


def test_a_transport_knows_its_socket_and_its_names(loop, run):
    async def main():
        async with connected() as (client, server):
            transport = client.transport
            assert isinstance(transport, asyncio.Transport)
            assert transport.get_extra_info("peername") == server.transport.get_extra_info("sockname")
            assert transport.get_extra_info("sockname") == server.transport.get_extra_info("peername")
            inner = transport.get_extra_info("socket")
            assert inner.family == socket.AF_INET
            assert inner.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert transport.get_extra_info("no such thing", 5) == 5
            assert "Transport" in repr(transport)

    run(main())


def test_a_server_that_may_open_no_more_descriptors_serves_again_later(loop, run):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    async def main():
        async with served(Echo) as (port, made):
            plains = [socket.create_connection(("127.0.0.1", port))]
            await until(lambda: len(made) == 1)
            waiting = socket.socket()
            resource.setrlimit(resource.RLIMIT_NOFILE, (waiting.fileno() + 1, hard))
            try:
                waiting.connect(("127.0.0.1", port))
                await until(lambda: loop.told)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            await until(lambda: len(made) == 2)
            waiting.setblocking(False)
            await loop.sock_sendall(waiting, b"hello")
            assert await loop.sock_recv(waiting, 10) == b"hello"
            for plain in [*plains, waiting]:
                plain.close()

    run(main())
    assert {context["exception"].errno for context in loop.told} == {errno.EMFILE}
    loop.told.clear()


def test_a_connection_that_is_refused_says_so(loop, run):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    async def main():
        with pytest.raises(ConnectionRefusedError):
            await loop.create_connection(Recorder, "127.0.0.1", port)

    run(main())


def test_a_connect_that_is_cancelled_leaves_nothing(loop, run):
    async def main():
        full = socket.create_server(("127.0.0.1", 0), backlog=0)
        with full, contextlib.ExitStack() as stack:
            for _ in range(4):
                filler = stack.enter_context(socket.socket())
                filler.setblocking(False)
                filler.connect_ex(full.getsockname())
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(loop.create_connection(Recorder, *full.getsockname()), 0.2)

    run(main())


def test_an_unclosed_transport_warns_when_it_is_collected(new_loop):
    def forget():
        loop = new_loop()
        loop.run_until_complete(loop.create_connection(asyncio.Protocol, sock=left))
        loop.close()

    left, right = socket.socketpair()
    with right:
        with pytest.warns(ResourceWarning, match="unclosed transport"):
            forget_and_collect(forget)
        assert right.recv(1) == b""


def forget_and_collect(forget):
    forget()
    gc.collect()


def test_a_socket_that_was_accepted_elsewhere_can_be_served(loop, run):
    async def main():
        with (
            socket.create_server(("127.0.0.1", 0)) as listener,
            plain_client(listener.getsockname()[1]) as plain,
        ):
            accepted, _ = listener.accept()
            _, protocol = await loop.connect_accepted_socket(Echo, accepted)
            await loop.sock_sendall(plain, b"hello")
            assert await loop.sock_recv(plain, 10) == b"hello"
            protocol.transport.close()
            await protocol.lost

    run(main())


def test_a_server_stops_accepting_when_it_is_closed(loop, run):
    async def main():
        async with served(Echo) as (port, _):
            pass
        with pytest.raises(ConnectionRefusedError):
            await loop.create_connection(Recorder, "127.0.0.1", port)

    run(main())


def test_descriptors_of_closed_connections_are_closed_at_once(loop, run):
    async def main():
        async with served(Recorder) as (port, made):
            count = len(os.listdir("/proc/self/fd"))
            for turn in range(1, 11):
                with plain_client(port):
                    await until(lambda: len(made) == turn and hasattr(made[-1], "transport"))  # noqa: B023
                await made[-1].lost
            await until(lambda: len(os.listdir("/proc/self/fd")) == count)

    run(main())


@pytest.mark.parametrize("local", ["127.0.0.1", "::1"])
def test_names_are_known_to_the_end_and_after_it(loop, run, local):
    class Asking(Recorder):
        def connection_lost(self, error):
            self.names = [self.transport.get_extra_info(name) for name in ("sockname", "peername")]
            super().connection_lost(error)

    async def main():
        server = await loop.create_server(lambda: made.append(Asking()) or made[-1], local, 0)
        _, client = await loop.create_connection(Asking, local, server.sockets[0].getsockname()[1])
        await until(lambda: made and hasattr(made[0], "transport"))
        there = made[0].transport.get_extra_info("peername")
        client.transport.close()
        await asyncio.gather(client.lost, made[0].lost)
        server.close()
        assert client.names == made[0].names[::-1]
        assert client.transport.get_extra_info("sockname") == client.names[0] == there
        assert client.names[0][0] == local
        assert len(client.names[0]) == (4 if local == "::1" else 2)

    made = []
    run(main())


def test_a_unix_peer_is_named_as_its_socket_names_it(loop, run, tmp_path):
    path = str(tmp_path / "socket")

    async def main():
        server = await loop.create_unix_server(lambda: made.append(Recorder()) or made[-1], path)
        _, client = await loop.create_unix_connection(Recorder, path)
        await until(lambda: made and hasattr(made[0], "transport"))
        server_side = made[0].transport
        assert server_side.get_extra_info("peername") == ""
        assert server_side.get_extra_info("sockname") == path
        assert server_side.get_extra_info("socket").family == socket.AF_UNIX
        client.transport.close()
        await asyncio.gather(client.lost, made[0].lost)
        server.close()

    made = []
    run(main())


def test_the_socket_of_a_transport_can_be_used_and_goes_with_it(loop, run):
    async def main():
        async with connected() as (client, server):
            for transport in (client.transport, server.transport):
                inner = transport.get_extra_info("socket")
                assert transport.get_extra_info("socket") is inner
                assert inner.gettimeout() == 0
                assert inner.getpeername() == transport.get_extra_info("peername")
            number = client.transport.get_extra_info("socket").fileno()
            client.transport.write(b"hello")
            await until(lambda: client.data == b"hello")
            client.transport.close()
            await client.lost
            assert client.transport.get_extra_info("socket").fileno() == -1
            with pytest.raises(OSError, match="Bad file descriptor"):
                os.fstat(number)

    run(main())


def test_a_refusal_is_worded_the_same_at_every_host(loop, run):
    async def main():
        for local in ("127.0.0.1", "::1"):
            with socket.create_server(
                (local, 0), family=socket.AF_INET6 if ":" in local else socket.AF_INET
            ) as probe:
                address = probe.getsockname()
            with pytest.raises(ConnectionRefusedError) as caught:
                await loop.create_connection(Recorder, *address[:2])
            assert caught.value.errno == errno.ECONNREFUSED
            assert str(address) in str(caught.value)

    run(main())


def test_a_client_whose_protocol_cannot_be_made_leaves_no_connection(kind, loop, run):
    if kind == "asyncio":
        pytest.skip("asyncio leaves the connection to the collector")

    def factory():
        raise LookupError

    async def main():
        async with served(Recorder) as (port, made):
            with pytest.raises(LookupError):
                await loop.create_connection(factory, "127.0.0.1", port)
            await until(lambda: made and made[0].events == ["made", "eof", "lost"])

    run(main())


def test_a_crowd_that_connects_at_once_is_served_whole(loop, run):
    async def main():
        async with served(Echo, backlog=500) as (port, made):
            with contextlib.ExitStack() as stack:
                for _ in range(300):
                    stack.enter_context(plain_client(port))
                await until(lambda: len(made) == 300 and all(hasattr(one, "transport") for one in made))
            for one in made:
                await one.lost

    run(main())


def test_each_accepted_connection_has_a_context_of_its_own(loop, run):
    variable = contextvars.ContextVar("variable", default=0)

    class Counting(Recorder):
        def __init__(self):
            super().__init__()
            variable.set(variable.get() + 1)

        def connection_made(self, transport):
            super().connection_made(transport)
            self.seen = variable.get()

    async def main():
        async with served(Counting) as (port, made):
            with plain_client(port), plain_client(port):
                await until(lambda: len(made) == 2 and all(hasattr(one, "seen") for one in made))
            assert [one.seen for one in made] == [1, 1]
            for one in made:
                await one.lost

    run(main())


def test_an_accepted_transport_that_is_forgotten_warns_and_closes_its_socket(new_loop):
    class Pausing(asyncio.Protocol):
        def connection_made(self, transport):
            transport.pause_reading()
            made.append(None)

    def forget():
        loop = new_loop()
        server = loop.run_until_complete(loop.create_server(Pausing, "127.0.0.1", 0))
        plain = socket.create_connection(server.sockets[0].getsockname())
        loop.run_until_complete(asyncio.wait_for(until(lambda: made), 10))
        server.close()
        loop.close()
        return plain

    made = []
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        plain = forget()
        gc.collect()
    assert any("unclosed transport" in str(one.message) for one in told)
    with plain:
        plain.settimeout(10)
        assert plain.recv(1) == b""
