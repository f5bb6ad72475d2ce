"""How TLS connections end, and what their protocols run in: more than asyncio promises, so on our loop alone."""

import asyncio
import contextvars
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor

import pytest
from peers import Echo, Recorder, until
from test_loop_tls import Served, client_context, connect, server_context

MUCH = bytes(8_000_000)
BOUND_S = 20
where = contextvars.ContextVar("where", default="outside")


@pytest.fixture
def kind():
    """Test no other loop than ours."""
    return "whichever"


class Peer:
    """A peer that does each step only when it is told to, in a thread that may block."""

    def __init__(self, sock, context, **options):
        self.sock = sock
        sock.settimeout(BOUND_S)
        self.coming, self.leaving = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.session = context.wrap_bio(self.coming, self.leaving, **options)

    def do(self, step, *args):
        """Take a step, however much has to come for it; what it sends is left for `send`."""
        while True:
            try:
                return step(*args)
            except ssl.SSLWantReadError:
                self.send()
                self.coming.write(self.sock.recv(65536))

    def send(self):
        if self.leaving.pending:
            self.sock.sendall(self.leaving.read())

    def write(self, data):
        self.session.write(data)
        self.send()

    def say_goodbye(self):
        """Send the goodbye, and wait for no answer."""
        with pytest.raises(ssl.SSLWantReadError):
            self.session.unwrap()
        self.send()

    def read_all(self):
        """Read up to the other's goodbye."""
        count = 0
        while True:
            try:
                chunk = self.do(self.session.read, 65536)
            except ssl.SSLZeroReturnError:
                return count
            if not chunk:
                return count
            count += len(chunk)


@pytest.fixture
def peer(loop, run):
    """Give what connects a protocol to a `Peer`, and runs the peer's steps in a thread."""
    threads = ThreadPoolExecutor(1)
    peers = []

    async def pair(protocol=Recorder, **options):
        here, there = socket.socketpair()
        here.setblocking(False)
        peers.append(Peer(there, server_context(), server_side=True))
        shaken = step(peers[-1].do, peers[-1].session.do_handshake)
        transport, made = await loop.create_connection(
            protocol, sock=here, ssl=client_context(), server_hostname="localhost", **options
        )
        await shaken
        await step(peers[-1].send)
        return made, peers[-1], transport

    def step(work, *args):
        return loop.run_in_executor(threads, work, *args)

    yield pair, step
    for one in peers:
        one.sock.close()
    threads.shutdown()


def test_what_comes_after_closing_is_no_error_and_nobodys(run):
    async def main():
        async with Served(server_context(), Recorder) as served:
            client = await connect(served.port)
            await until(lambda: served.made and hasattr(served.made[0], "transport"))
            client.transport.close()
            served.made[0].transport.write(b"late")
            assert await client.lost is None
            assert client.data == b""
            assert await served.made[0].lost is None

    run(main())


def test_closing_while_reading_is_paused_ends_the_connection(run):
    async def main():
        async with Served(server_context(), Recorder) as served:
            client = await connect(served.port)
            client.transport.pause_reading()
            await until(lambda: served.made and hasattr(served.made[0], "transport"))
            served.made[0].transport.write(b"never read")
            client.transport.close()
            client.transport.resume_reading()
            assert await client.lost is None
            assert client.data == b""
            assert client.events == ["made", "eof", "lost"]

    run(main())


def test_all_that_was_written_arrives_though_the_peer_says_goodbye_first(peer, run):
    pair, step = peer

    async def main():
        client, other, _ = await pair()
        client.transport.write(MUCH)
        client.transport.write(MUCH)
        assert client.events == ["made", "pause"]
        await step(other.say_goodbye)
        await until(lambda: "eof" in client.events)
        assert await step(other.read_all) == 2 * len(MUCH)
        assert await client.lost is None

    run(main())


def test_all_that_was_written_arrives_though_it_is_closed_at_once(peer, run):
    pair, step = peer

    async def main():
        client, other, transport = await pair()
        client.transport.write(MUCH)
        transport.close()
        assert await step(other.read_all) == len(MUCH)
        await step(other.do, other.session.unwrap)
        await step(other.send)
        assert await client.lost is None

    run(main())


@pytest.mark.parametrize("first", ["we", "the peer"])
def test_a_peer_that_never_reads_is_given_up(peer, run, first):
    pair, step = peer

    async def main():
        client, other, transport = await pair(ssl_shutdown_timeout=0.1)
        client.transport.write(MUCH)
        if first == "we":
            transport.close()
        else:
            await step(other.say_goodbye)
        assert isinstance(await client.lost, TimeoutError)

    run(main())


async def unread(peer, data):
    """Make a pair whose client does not read what its peer sends before it hangs up."""
    pair, step = peer
    client, other, transport = await pair()
    transport.pause_reading()
    await step(other.write, data)
    other.sock.shutdown(socket.SHUT_WR)
    await until(lambda: transport._ssl_protocol._eof_received)
    return client, transport


def test_what_came_before_the_peer_hung_up_is_kept_for_who_reads_later(peer, run):
    async def main():
        client, transport = await unread(peer, b"kept")
        transport.resume_reading()
        assert await client.lost is None
        assert client.data == b"kept"
        assert client.events == ["made", "data", "eof", "lost"]

    run(main())


def test_who_never_reads_on_can_still_close(peer, run):
    async def main():
        client, transport = await unread(peer, b"unread")
        assert not client.lost.done()
        transport.close()
        assert await client.lost is None
        assert client.data == b""

    run(main())


def test_a_small_buffer_gets_all_that_came_before_the_peer_hung_up(peer, run):
    pair, step = peer

    class Small(asyncio.BaseProtocol):
        """Its methods alone say that it has a buffer, as in uvloop."""

        def __init__(self):
            self.buffer = bytearray(3)
            self.data = b""
            self.lost = asyncio.get_running_loop().create_future()

        def get_buffer(self, _hint):
            return self.buffer

        def buffer_updated(self, count):
            self.data += self.buffer[:count]

        def eof_received(self):
            pass

        def connection_lost(self, error):
            self.lost.set_result(error)

    async def main():
        client, other, _ = await pair(Small)
        other.session.write(b"0123456789")
        await step(other.send)
        other.sock.shutdown(socket.SHUT_WR)
        assert await client.lost is None
        assert client.data == b"0123456789"

    run(main())


def test_who_waits_for_the_handshake_comes_before_the_first_data(loop, run):
    class Upgrading(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            self.upgraded = loop.create_task(self.upgrade())

        async def upgrade(self):
            self.transport = await loop.start_tls(self.transport, self, server_context(), server_side=True)

        def data_received(self, data):
            super().data_received(data)
            assert self.upgraded.done()
            self.transport.write(data)

    def shake_hands_and_speak(port):
        with socket.create_connection(("127.0.0.1", port)) as sock:
            other = Peer(sock, client_context(), server_hostname="localhost")
            other.do(other.session.do_handshake)
            # In one packet with the end of the handshake.
            other.write(b"hello")
            return other.do(other.session.read, 100)

    async def main():
        async with Served(None, Upgrading) as served:
            assert await loop.run_in_executor(None, shake_hands_and_speak, served.port) == b"hello"

    run(main())


def test_a_handshake_that_came_with_the_last_plain_line_is_not_lost(loop, run):
    def ask_and_shake_hands(port):
        with socket.create_connection(("127.0.0.1", port)) as sock:
            other = Peer(sock, client_context(), server_hostname="localhost")
            with pytest.raises(ssl.SSLWantReadError):
                other.session.do_handshake()
            sock.sendall(b"STARTTLS\n" + other.leaving.read())
            other.do(other.session.do_handshake)
            other.write(b"hello\n")
            return other.do(other.session.read, 100)

    async def upgrade(reader, writer):
        assert await reader.readline() == b"STARTTLS\n"
        await until(lambda: reader._buffer)
        await writer.start_tls(server_context())
        writer.write((await reader.readline()).upper())
        writer.close()

    async def main():
        server = await asyncio.start_server(upgrade, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            assert await loop.run_in_executor(None, ask_and_shake_hands, port) == b"HELLO\n"

    run(main())


class Placed(Recorder):
    """Notes the context that each of its methods runs in."""

    def __init__(self):
        super().__init__()
        self.places = {}

    def connection_made(self, transport):
        super().connection_made(transport)
        self.places["made"] = where.get()

    def data_received(self, data):
        super().data_received(data)
        self.places["data"] = where.get()

    def eof_received(self):
        super().eof_received()
        self.places["eof"] = where.get()

    def pause_writing(self):
        super().pause_writing()
        self.places["pause"] = where.get()

    def resume_writing(self):
        super().resume_writing()
        self.places["resume"] = where.get()

    def connection_lost(self, error):
        self.places["lost"] = where.get()
        super().connection_lost(error)


@pytest.mark.parametrize("layers", [1, 2])
def test_a_secure_protocol_runs_in_the_context_of_its_connection(loop, run, layers):
    sizes = [len(MUCH)] + [600_000] * layers

    async def elsewhere(client):
        where.set("elsewhere")
        client.transport.pause_reading()
        # What a layer has handed down does not count, so it takes one write more than there are layers below.
        for size in sizes:
            client.transport.write(bytes(size))
        assert "pause" in client.places
        client.transport.resume_reading()
        await until(lambda: len(client.data) == sum(sizes) and "resume" in client.places)
        client.transport.close()
        await client.lost

    class Nesting(Echo):
        def connection_made(self, transport):
            super().connection_made(transport)
            if layers == 2:
                self.inner = loop.create_task(self.nest())

        async def nest(self):
            self.transport = await loop.start_tls(self.transport, self, server_context(), server_side=True)

    async def main():
        where.set("inside")
        async with Served(server_context(), Nesting) as served:
            client = await connect(served.port, protocol=Placed)
            if layers == 2:
                client.transport = await loop.start_tls(
                    client.transport, client, client_context(), server_hostname="localhost"
                )
            await asyncio.create_task(elsewhere(client))
            assert client.places == dict.fromkeys(
                ["made", "pause", "resume", "data", "eof", "lost"], "inside"
            )

    run(main())


def test_a_connection_that_was_closed_twice_can_still_be_aborted_from_above(loop, run):
    class Nesting(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            self.inner = loop.create_task(loop.start_tls(transport, self, server_context(), server_side=True))

    async def main():
        async with Served(server_context(), Nesting) as served:
            client = await connect(served.port)
            outer = await loop.start_tls(
                client.transport, client, client_context(), server_hostname="localhost"
            )
            await until(lambda: served.made and served.made[0].inner.done())
            served.made[0].transport.pause_reading()
            outer.write(MUCH)
            # As a layer does that has ended, and then does what the program asks of it.
            client.transport.close()
            client.transport.close()
            outer.abort()
            assert await client.lost is None

    run(main())
