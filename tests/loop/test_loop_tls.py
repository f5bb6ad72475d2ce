"""TLS through Python's own contexts, so that every setting of theirs holds."""

import asyncio
import random
import ssl
from pathlib import Path

import pytest
from peers import Echo, Recorder, reset, until

CERTS = Path(__file__).resolve().parent / "certs"
AUTHORITY = CERTS / "authority.pem"


def server_context(name="localhost", **options):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTS / f"{name}.pem")
    for option, value in options.items():
        setattr(context, option, value)
    return context


def client_context(certificate=None):
    context = ssl.create_default_context(cafile=AUTHORITY)
    if certificate:
        context.load_cert_chain(CERTS / f"{certificate}.pem")
    return context


class Served:
    """A TLS server, and the protocols it has made."""

    def __init__(self, context, protocol=Echo, **options):
        self.made = []
        self.context, self.protocol, self.options = context, protocol, options

    def factory(self):
        self.made.append(self.protocol())
        return self.made[-1]

    async def __aenter__(self):
        self.server = await asyncio.get_running_loop().create_server(
            self.factory, "127.0.0.1", 0, ssl=self.context, **self.options
        )
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self.server.close()
        for one in self.made:
            if hasattr(one, "transport"):
                one.transport.abort()
                await one.lost
        await self.server.wait_closed()


async def connect(port, context=None, protocol=Recorder, **options):
    options.setdefault("server_hostname", "localhost")
    _, client = await asyncio.get_running_loop().create_connection(
        protocol, "127.0.0.1", port, ssl=context or client_context(), **options
    )
    return client


async def gone(client):
    client.transport.abort()
    await client.lost


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("size", [1, 100_000, 3_000_000])
def test_what_is_written_comes_back(run, size, version):
    message = random.Random(size).randbytes(size)

    async def main():
        async with Served(server_context(maximum_version=version, minimum_version=version)) as served:
            client = await connect(served.port)
            client.transport.write(message)
            await until(lambda: len(client.data) >= size)
            assert client.data == message
            assert (
                client.transport.get_extra_info("ssl_object").version()
                == f"TLSv1.{3 if version > 771 else 2}"
            )
            assert client.transport.get_extra_info("cipher")
            assert client.transport.get_extra_info("peercert")["subjectAltName"]
            await gone(client)

    run(main())


def test_many_small_writes_keep_their_order(run):
    async def main():
        async with Served(server_context()) as served:
            client = await connect(served.port)
            for number in range(2000):
                client.transport.write(b"%d," % number)
            expected = b"".join(b"%d," % number for number in range(2000))
            await until(lambda: len(client.data) >= len(expected))
            assert client.data == expected
            await gone(client)

    run(main())


def test_a_name_that_the_certificate_has_not_is_refused(run):
    async def main():
        async with Served(server_context()) as served:
            with pytest.raises(ssl.SSLCertVerificationError):
                await connect(served.port, server_hostname="elsewhere.example")

    run(main())


def test_a_certificate_of_nobody_is_refused(run):
    async def main():
        async with Served(server_context()) as served:
            with pytest.raises(ssl.SSLCertVerificationError):
                await connect(served.port, ssl.create_default_context())

    run(main())


def test_the_server_asks_for_the_clients_certificate(run):
    async def main():
        context = server_context(verify_mode=ssl.CERT_REQUIRED)
        context.load_verify_locations(AUTHORITY)
        async with Served(context) as served:
            client = await connect(served.port, client_context("client"))
            client.transport.write(b"hello")
            await until(lambda: client.data == b"hello")
            (subject,) = served.made[0].transport.get_extra_info("peercert")["subject"]
            assert subject == (("commonName", "client"),)
            await gone(client)
            nobody = await connect(served.port)
            await nobody.lost

    run(main())


def test_the_server_chooses_its_certificate_by_the_name_that_is_asked_for(run):
    asked = []

    def choose(connection, name, _context):
        asked.append(name)
        if name == "other.example":
            connection.context = server_context("other.example")

    async def main():
        async with Served(server_context(sni_callback=choose)) as served:
            for name in ("localhost", "other.example"):
                client = await connect(served.port, server_hostname=name)
                assert ("DNS", name) in client.transport.get_extra_info("peercert")["subjectAltName"]
                await gone(client)

    run(main())
    assert asked == ["localhost", "other.example"]


def test_a_protocol_is_agreed_on_in_the_handshake(run):
    async def main():
        ours, theirs = client_context(), server_context()
        ours.set_alpn_protocols(["h2", "http/1.1"])
        theirs.set_alpn_protocols(["http/1.1"])
        async with Served(theirs) as served:
            client = await connect(served.port, ours)
            agreed = client.transport.get_extra_info("ssl_object").selected_alpn_protocol()
            assert agreed == "http/1.1"
            await gone(client)

    run(main())


def test_closing_says_goodbye_and_both_sides_end_without_an_error(run):
    async def main():
        async with Served(server_context()) as served:
            client = await connect(served.port)
            client.transport.write(b"x" * 1_000_000)
            await until(lambda: len(client.data) == 1_000_000)
            client.transport.close()
            assert await client.lost is None
            assert await served.made[0].lost is None
            assert served.made[0].events.count("lost") == 1

    run(main())


def test_a_plain_connection_becomes_a_secure_one_in_the_middle(loop, run):
    class Upgrading(Recorder):
        def data_received(self, data):
            super().data_received(data)
            if data == b"STARTTLS":
                self.transport.write(b"go")
                self.upgraded = loop.create_task(self.upgrade())
            else:
                # It may arrive with the end of the handshake, before the new transport is known here.
                self.upgraded.add_done_callback(lambda _: self.transport.write(data))

        async def upgrade(self):
            self.transport = await loop.start_tls(self.transport, self, server_context(), server_side=True)

    async def main():
        async with Served(None, Upgrading) as served:
            _, client = await loop.create_connection(Recorder, "127.0.0.1", served.port)
            client.transport.write(b"STARTTLS")
            await until(lambda: client.data == b"go")
            client.transport = await loop.start_tls(
                client.transport, client, client_context(), server_hostname="localhost"
            )
            client.transport.write(b"secret")
            await until(lambda: client.data == b"gosecret")
            assert client.transport.get_extra_info("cipher")
            await gone(client)

    run(main())


def test_a_peer_that_speaks_no_tls_is_dropped_and_the_server_goes_on(loop, run):
    async def main():
        async with Served(server_context()) as served:
            _, plain = await loop.create_connection(Recorder, "127.0.0.1", served.port)
            plain.transport.write(b"GET / HTTP/1.0\r\n\r\n")
            await plain.lost
            client = await connect(served.port)
            client.transport.write(b"hello")
            await until(lambda: client.data == b"hello")
            await gone(client)

    run(main())


def test_a_handshake_that_takes_too_long_is_given_up(loop, run):
    async def main():
        server = await asyncio.start_server(lambda _r, writer: writers.append(writer), "127.0.0.1", 0)
        writers = []
        async with server:
            port = server.sockets[0].getsockname()[1]
            with pytest.raises(ConnectionAbortedError, match="handshake"):
                await connect(port, ssl_handshake_timeout=0.05)
            await until(lambda: writers)
            writers[0].close()

    run(main())


def test_a_reset_in_the_middle_ends_the_connection_with_an_error(loop, run):
    async def main():
        async with Served(server_context(), Recorder) as served:
            client = await connect(served.port)
            await until(lambda: served.made and hasattr(served.made[0], "transport"))
            raw = client.transport.get_extra_info("socket")
            reset(raw_socket(raw))
            client.transport.abort()
            await client.lost
            await served.made[0].lost

    run(main())


def raw_socket(facade):
    """Give a socket of its own for the descriptor behind a transport's."""
    import socket

    return socket.socket(fileno=socket.dup(facade.fileno()))


def test_secure_streams_carry_lines(run):
    async def lines(reader, writer):
        async for line in reader:
            writer.write(line.upper())
        writer.close()

    async def main():
        server = await asyncio.start_server(lines, "127.0.0.1", 0, ssl=server_context())
        async with server:
            port = server.sockets[0].getsockname()[1]
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", port, ssl=client_context(), server_hostname="localhost"
            )
            writer.write(b"one\n")
            assert await reader.readline() == b"ONE\n"
            writer.close()
            await writer.wait_closed()

    run(main())
