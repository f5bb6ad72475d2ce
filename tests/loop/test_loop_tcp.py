"""TCP transports: bytes in order, flow control, half close, resets, and each end told once."""

import asyncio
import errno
import random
import socket
import sys

import pytest
from peers import Recorder, connected, plain_client, reset, served, until


def test_what_is_written_comes_back(loop, run):
    async def main():
        async with connected() as (client, server):
            client.transport.write(b"hello")
            await until(lambda: client.data == b"hello")
            assert server.events == ["made", "data"]

    run(main())


@pytest.mark.parametrize("size", [1, 1000, 70_000, 300_000, 5_000_000])
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_messages_of_any_size_come_back_whole_and_in_order(loop, run, size, kind):
    message = random.Random(size).randbytes(size)

    async def main():
        async with connected() as (client, _):
            client.transport.write(kind(message))
            await until(lambda: len(client.data) >= size)
            assert client.data == message

    run(main())


def test_a_buffer_may_be_changed_as_soon_as_write_has_returned(kind, loop, run):
    if kind == "asyncio" and sys.version_info >= (3, 12):
        pytest.skip("asyncio's loop keeps a view of the buffer from 3.12 on")

    async def main():
        async with connected() as (client, _):
            buffer = bytearray(b"before")
            client.transport.write(b"x" * 5_000_000)
            client.transport.write(buffer)
            buffer[:] = b"after!"
            await until(lambda: len(client.data) >= 5_000_006)
            assert client.data[-6:] == b"before"

    run(main())


def test_connection_made_may_write_more_than_the_kernel_takes(loop, run):
    class Greeting(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            transport.write(bytes(5_000_000))
            self.events.append("written")

    async def main():
        async with connected(protocol=Greeting) as (client, _):
            await until(lambda: len(client.data) == 5_000_000)
            assert client.events[:3] == ["made", "pause", "written"]
            assert "resume" in client.events

    run(main())


def test_a_programs_own_write_may_take_the_transports_place(loop, run):
    async def main():
        async with connected() as (client, _):
            written = []
            client.transport.write = written.append
            client.transport.write(b"never sent")
            del client.transport.write
            client.transport.write(b"sent")
            await until(lambda: client.data == b"sent")
            assert written == [b"never sent"]

    run(main())


def test_many_small_writes_keep_their_order(loop, run):
    async def main():
        async with connected() as (client, _):
            expected = b"".join(b"%d," % number for number in range(10_000))
            for number in range(10_000):
                client.transport.write(b"%d," % number)
            client.transport.writelines([b"a", bytearray(b"b"), memoryview(b"c")])
            client.transport.write(b"")
            await until(lambda: len(client.data) >= len(expected) + 3)
            assert client.data == expected + b"abc"

    run(main())


@pytest.mark.parametrize("thing", ["text", None, 5, [b"x"]])
def test_only_bytes_may_be_written(loop, run, thing):
    async def main():
        async with connected() as (client, _):
            with pytest.raises(TypeError):
                client.transport.write(thing)

    run(main())


def test_after_an_end_of_file_the_other_direction_goes_on(loop, run):
    class Late(Recorder):
        def eof_received(self):
            super().eof_received()
            self.transport.write(b"bye")
            asyncio.get_running_loop().call_soon(self.transport.close)
            return True

    async def main():
        async with connected(served_by=Late) as (client, server):
            assert client.transport.can_write_eof()
            client.transport.write(b"all")
            client.transport.write_eof()
            with pytest.raises(RuntimeError):
                client.transport.write(b"more")
            assert await client.lost is None
            assert client.data == b"bye"
            assert client.events == ["made", "data", "eof", "lost"]
            await server.lost
            assert server.events == ["made", "data", "eof", "lost"]

    run(main())


def test_an_end_of_file_follows_what_was_written_before(loop, run):
    async def main():
        async with connected(served_by=Recorder) as (client, server):
            client.transport.write(b"x" * 3_000_000)
            client.transport.write_eof()
            client.transport.write_eof()
            await server.lost
            assert len(server.data) == 3_000_000

    run(main())


def test_an_end_of_file_closes_the_transport_unless_the_protocol_keeps_it(loop, run):
    async def main():
        async with served(Recorder) as (port, made):
            with plain_client(port) as plain:
                await until(lambda: made)
                plain.shutdown(socket.SHUT_WR)
                assert await made[0].lost is None
                assert made[0].events == ["made", "eof", "lost"]
                assert made[0].transport.is_closing()

    run(main())


def test_a_reset_is_told_as_an_error_and_leaves_no_descriptor(loop, run):
    async def main():
        async with served(Recorder) as (port, made):
            for _ in range(20):
                plain = socket.create_connection(("127.0.0.1", port))
                await until(lambda: made and hasattr(made[-1], "transport"))
                reset(plain)
                error = await made[-1].lost
                assert isinstance(error, ConnectionResetError)
                assert error.errno == errno.ECONNRESET
                assert made[-1].events == ["made", "lost"]

    run(main())


def test_a_peer_that_does_not_read_pauses_the_writer_until_it_does(loop, run):
    async def main():
        async with served(Recorder) as (port, made):
            with plain_client(port) as plain:
                await until(lambda: made and hasattr(made[0], "transport"))
                server = made[0]
                server.transport.set_write_buffer_limits(high=100_000, low=10_000)
                assert server.transport.get_write_buffer_limits() == (10_000, 100_000)
                written = 0
                while "pause" not in server.events:
                    server.transport.write(bytes([written % 251]) * 65_536)
                    written += 1
                assert server.transport.get_write_buffer_size() > 100_000
                got = bytearray()
                while len(got) < written * 65_536:
                    got += await loop.sock_recv(plain, 1 << 20)
                await until(lambda: "resume" in server.events)
                assert server.events == ["made", "pause", "resume"]
                assert server.transport.get_write_buffer_size() == 0
                assert all(got[turn * 65_536] == turn % 251 for turn in range(written))

    run(main())


def test_a_transport_that_pauses_reading_gets_nothing_until_it_resumes(loop, run):
    async def main():
        async with connected(served_by=Recorder) as (client, server):
            assert server.transport.is_reading()
            server.transport.pause_reading()
            server.transport.pause_reading()
            assert not server.transport.is_reading()
            client.transport.write(b"x" * 1000)
            for _ in range(20):
                await asyncio.sleep(0.001)
            assert server.data == b""
            server.transport.resume_reading()
            server.transport.resume_reading()
            await until(lambda: len(server.data) == 1000)

    run(main())


def test_a_protocol_may_pause_in_the_middle_of_the_data(loop, run):
    class Sipping(Recorder):
        def data_received(self, data):
            super().data_received(data)
            self.transport.pause_reading()
            asyncio.get_running_loop().call_soon(self.transport.resume_reading)

    async def main():
        async with connected(served_by=Sipping) as (client, server):
            message = random.Random(3).randbytes(2_000_000)
            client.transport.write(message)
            await until(lambda: len(server.data) >= len(message))
            assert server.data == message

    run(main())


def test_close_sends_what_was_written_and_tells_the_protocol_once(loop, run):
    async def main():
        async with connected(served_by=Recorder) as (client, server):
            client.transport.write(b"x" * 3_000_000)
            client.transport.close()
            assert client.transport.is_closing()
            client.transport.close()
            assert "lost" not in client.events
            assert await client.lost is None
            await server.lost
            assert len(server.data) == 3_000_000
            assert client.events.count("lost") == 1

    run(main())


def test_abort_drops_what_was_written_and_tells_the_protocol_in_a_later_turn(loop, run):
    async def main():
        async with served(Recorder) as (port, made):
            with plain_client(port):
                await until(lambda: made and hasattr(made[0], "transport"))
                server = made[0]
                server.transport.write(b"x" * 20_000_000)
                server.transport.abort()
                assert "lost" not in server.events
                assert await server.lost is None
                assert server.events[-1] == "lost"
                assert server.transport.get_write_buffer_size() == 0

    run(main())


def test_writing_to_a_peer_that_has_gone_ends_the_transport_with_the_error(loop, run):
    async def main():
        async with served(Recorder) as (port, made):
            plain = socket.create_connection(("127.0.0.1", port))
            await until(lambda: made and hasattr(made[0], "transport"))
            server = made[0]
            server.transport.pause_reading()
            reset(plain)
            while not server.lost.done():
                server.transport.write(b"x" * 1000)
                await asyncio.sleep(0.001)
            assert isinstance(server.lost.result(), BrokenPipeError | ConnectionResetError)

    run(main())


def test_a_protocol_that_closes_while_it_is_told_of_data_gets_no_more(loop, run):
    class Shy(Recorder):
        def data_received(self, data):
            super().data_received(data)
            self.transport.close()

    async def main():
        async with connected(served_by=Shy) as (client, server):
            client.transport.write(b"x" * 1_000_000)
            await server.lost
            assert server.events == ["made", "data", "lost"]
            await client.lost

    run(main())


def test_the_protocol_may_be_changed_in_the_middle(loop, run):
    class Second(Recorder):
        def data_received(self, data):
            self.data += data

    async def main():
        async with connected() as (client, server):
            second = Second()
            assert server.transport.get_protocol() is server
            server.transport.set_protocol(second)
            assert server.transport.get_protocol() is second
            client.transport.write(b"for the second")
            await until(lambda: second.data == b"for the second")
            assert server.events == ["made"]
            server.transport.set_protocol(server)

    run(main())


def test_streams_carry_lines_and_end(loop, run):
    async def served_lines(reader, writer):
        async for line in reader:
            writer.write(line.upper())
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def main():
        server = await asyncio.start_server(served_lines, "127.0.0.1", 0)
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.writelines([b"one\n", b"two\n"])
            assert await reader.readline() == b"ONE\n"
            assert await reader.readexactly(4) == b"TWO\n"
            writer.write(b"x" * 50_000 + b"\n")
            assert await reader.readuntil(b"\n") == b"X" * 50_000 + b"\n"
            writer.write_eof()
            assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()

    run(main())
