"""Streams: readers that asyncio makes, which our loop serves natively, and readers that it has to leave as they are."""

import asyncio
import contextlib
import gc
import random
import socket
import struct
import weakref
from unittest import mock

import pytest
from peers import until

import whichever

LIMIT = 1024


class OwnReader(asyncio.StreamReader):
    """A program's own reader, which no loop may change."""


class Pair:
    """The reader that is tested, and the other end of its connection."""

    def __init__(self, reader, writer, peer_reader, peer):
        self.reader, self.writer, self.peer_reader, self.peer = reader, writer, peer_reader, peer

    async def send(self, data):
        """Send to the reader, and wait until it has it."""
        before = len(self.reader._buffer)
        self.peer.write(data)
        await until(lambda: len(self.reader._buffer) == before + len(data))


def reset(writer):
    """End a connection so that its peer gets a RST."""
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@contextlib.asynccontextmanager
async def connected(reader):
    """Connect a reader; give the two ends."""
    loop = asyncio.get_running_loop()
    arrived = loop.create_future()
    server = await asyncio.start_server(lambda *ends: arrived.set_result(ends), "127.0.0.1", 0)
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    transport, _ = await loop.create_connection(lambda: protocol, *server.sockets[0].getsockname())
    writer = asyncio.StreamWriter(transport, protocol, reader, loop)
    peer_reader, peer = await arrived
    pair = Pair(reader, writer, peer_reader, peer)
    del reader
    try:
        yield pair
    finally:
        for end in (writer, peer):
            end.close()
            with contextlib.suppress(ConnectionError):
                await end.wait_closed()
        server.close()
        await server.wait_closed()


@pytest.fixture(params=[asyncio.StreamReader, OwnReader])
def paired(request, loop):
    """Return what connects a reader: one as asyncio makes it, or one that nobody knows."""
    return lambda: connected(request.param(limit=LIMIT, loop=loop))


def test_our_loop_serves_what_asyncio_makes_and_nothing_else(loop, run, kind):
    async def main():
        changed = asyncio.StreamReader(loop=loop)
        changed.feed_data = mock.Mock()
        found = []
        for reader in (asyncio.StreamReader(loop=loop), OwnReader(loop=loop), changed):
            async with connected(reader) as pair:
                found += [type(pair.reader).__module__, type(pair.peer_reader).__module__]
        return found

    ours = "whichever.loop._reader" if kind == "whichever" else "asyncio.streams"
    assert run(main()) == [ours, ours, __name__, ours, "asyncio.streams", ours]


def test_a_method_of_a_reader_that_was_replaced_is_called(loop, run):
    async def main():
        reader = asyncio.StreamReader(loop=loop)
        reader.feed_data = mock.Mock()
        async with connected(reader) as pair:
            pair.peer.write(b"data")
            await until(lambda: reader.feed_data.called)
            reader.feed_data.assert_called_once_with(b"data")

    run(main())


def test_a_read_takes_what_is_there_up_to_its_size(run, paired):
    async def main():
        async with paired() as pair:
            await pair.send(b"0123456789")
            assert await pair.reader.read(4) == b"0123"
            assert await pair.reader.read(0) == b""
            assert await pair.reader.read(100) == b"456789"
            assert bytes(pair.reader._buffer) == b""
            waiting = asyncio.ensure_future(pair.reader.read(10**30))
            await until(lambda: pair.reader._waiter is not None)
            pair.peer.write(b"late")
            assert await waiting == b"late"
            assert pair.reader._waiter is None

    run(main())


def test_bytes_of_random_sizes_arrive_in_order_by_every_way_of_reading(run, paired):
    chance = random.Random(7)
    lines = [b"x" * chance.randrange(700) + b"\n" for _ in range(600)]
    message = b"".join(lines)

    async def send(pair):
        rest = message
        while rest:
            size = chance.randrange(1, 3000)
            pair.peer.write(rest[:size])
            await pair.peer.drain()
            rest = rest[size:]
        pair.peer.write_eof()

    async def main():
        async with paired() as pair:
            sending = asyncio.ensure_future(send(pair))
            got = b""
            while not pair.reader.at_eof():
                way = chance.randrange(4)
                with contextlib.suppress(asyncio.IncompleteReadError):
                    if way == 0:
                        got += await pair.reader.read(chance.randrange(1, 5000))
                    elif way == 1:
                        # No more than there is, or the rest would be in the error.
                        left = len(message) - len(got)
                        got += await pair.reader.readexactly(min(left, chance.randrange(1, 5000)))
                    elif way == 2:
                        got += await pair.reader.readline()
                    else:
                        got += await pair.reader.readuntil(b"\n")
            await sending
            assert got == message

    run(main())


def test_reading_pauses_at_twice_the_limit_and_goes_on(run, paired):
    async def main():
        async with paired() as pair:
            pair.peer.write(b"a" * 10_000_000)
            await until(lambda: not pair.writer.transport.is_reading())
            assert pair.reader._paused
            held = len(pair.reader._buffer)
            assert held > 2 * LIMIT
            assert await pair.reader.read(held - LIMIT) == b"a" * (held - LIMIT)
            assert not pair.reader._paused
            rest = 10_000_000 - held + LIMIT
            assert await pair.reader.readexactly(rest) == b"a" * rest

    run(main())


def test_an_end_leaves_what_came_before_it(run, paired):
    async def main():
        async with paired() as pair:
            pair.peer.write(b"line\nrest")
            pair.peer.write_eof()
            await until(lambda: pair.reader._eof)
            assert not pair.reader.at_eof()
            assert await pair.reader.readline() == b"line\n"
            with pytest.raises(asyncio.IncompleteReadError) as failure:
                await pair.reader.readexactly(100)
            assert (failure.value.partial, failure.value.expected) == (b"rest", 100)
            assert pair.reader.at_eof()
            assert [await pair.reader.read(5), await pair.reader.readline(), await pair.reader.read()] == [
                b""
            ] * 3

    run(main())


def test_an_end_wakes_a_reader_that_waits(run, paired):
    async def main():
        async with paired() as pair:
            waiting = asyncio.ensure_future(pair.reader.read(5))
            await until(lambda: pair.reader._waiter is not None)
            pair.peer.write_eof()
            assert await waiting == b""

    run(main())


def test_a_reset_is_raised_by_the_read_that_waits_and_by_later_ones(run, paired):
    async def main():
        async with paired() as pair:
            waiting = asyncio.ensure_future(pair.reader.read(5))
            await until(lambda: pair.reader._waiter is not None)
            reset(pair.peer)
            with pytest.raises(ConnectionResetError):
                await waiting
            for read in (pair.reader.read(1), pair.reader.readexactly(1), pair.reader.readline()):
                with pytest.raises(ConnectionResetError):
                    await read

    run(main())


@pytest.mark.parametrize("read", ["read", "readexactly", "readline"])
def test_only_one_may_wait_for_data(run, paired, read):
    async def main():
        async with paired() as pair:
            waiting = asyncio.ensure_future(pair.reader.read(5))
            await until(lambda: pair.reader._waiter is not None)
            with pytest.raises(RuntimeError, match="while another coroutine is already waiting"):
                await getattr(pair.reader, read)(*(() if read == "readline" else (3,)))
            pair.peer.write(b"first")
            assert await waiting == b"first"

    run(main())


def test_a_cancelled_read_loses_nothing(run, paired):
    async def main():
        async with paired() as pair:
            for number in range(50):
                waiting = asyncio.ensure_future(pair.reader.read(100))
                await until(lambda: pair.reader._waiter is not None)
                if number % 2:
                    # Cancelled after the data has come, and before the task has run.
                    pair.reader.feed_data(b"%03d" % number)
                    waiting.cancel()
                else:
                    waiting.cancel()
                    pair.reader.feed_data(b"%03d" % number)
                with pytest.raises(asyncio.CancelledError):
                    await waiting
                assert await pair.reader.read(100) == b"%03d" % number

    run(main())


def test_lines_longer_than_the_limit_are_refused_and_the_next_is_read(run, paired):
    async def main():
        async with paired() as pair:
            await pair.send(b"x" * (LIMIT + 1) + b"\nnext\n")
            with pytest.raises(ValueError, match="longer than limit"):
                await pair.reader.readline()
            assert await pair.reader.readline() == b"next\n"
            await pair.send(b"y" * LIMIT + b"\n")
            assert await pair.reader.readline() == b"y" * LIMIT + b"\n"
            await pair.send(b"z" * (LIMIT + 1))
            with pytest.raises(ValueError, match="exceed the limit"):
                await pair.reader.readline()
            assert bytes(pair.reader._buffer) == b""

    run(main())


def test_a_view_of_the_buffer_makes_reading_fail_and_loses_nothing(run, paired):
    async def main():
        async with paired() as pair:
            await pair.send(b"data")
            with memoryview(pair.reader._buffer), pytest.raises(BufferError):
                await pair.reader.read(10)
            assert await pair.reader.read(10) == b"data"

    run(main())


def test_a_reader_looks_as_asyncios_does(run, paired):
    async def main():
        async with paired() as pair:
            await pair.send(b"data")
            looks = repr(pair.reader)
            assert looks.startswith("<StreamReader 4 bytes limit=1024 transport=<"), looks
            assert isinstance(pair.reader, asyncio.StreamReader)
            assert asyncio.iscoroutine(reading := pair.reader.read(4))
            assert await reading == b"data"

    run(main())


def test_a_stream_iterates_over_its_lines(run, paired):
    async def main():
        async with paired() as pair:
            pair.peer.write(b"one\ntwo\nthree")
            pair.peer.write_eof()
            assert [line async for line in pair.reader] == [b"one\n", b"two\n", b"three"]

    run(main())


def test_data_for_a_reader_that_is_gone_is_dropped(loop, run):
    async def main():
        reader = asyncio.StreamReader(loop=loop)
        gone = weakref.ref(reader)
        ended = mock.Mock(return_value=False)
        async with connected(reader) as pair:
            del reader
            pair.reader = pair.writer._reader = None
            gc.collect()
            assert gone() is None
            pair.writer.transport.get_protocol().eof_received = ended
            pair.peer.write(b"for nobody")
            pair.peer.write_eof()
            await until(lambda: ended.called)

    run(main())


def test_another_protocol_gets_what_arrives_after_it_was_set(run, paired):
    async def main():
        async with paired() as pair:
            await pair.send(b"before")
            other = mock.Mock(spec=asyncio.Protocol)
            transport, old = pair.writer.transport, pair.writer.transport.get_protocol()
            transport.set_protocol(other)
            pair.peer.write(b"after")
            await until(lambda: other.data_received.called)
            other.data_received.assert_called_once_with(b"after")
            transport.set_protocol(old)
            await pair.send(b" again")
            assert await pair.reader.read(100) == b"before again"

    run(main())


def test_a_loop_with_futures_of_its_own_keeps_asyncios_reader():
    class Futures(whichever.EventLoop):
        def create_future(self):
            self.made = getattr(self, "made", 0) + 1
            return super().create_future()

    async def main():
        loop = asyncio.get_running_loop()
        server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        before = loop.made
        assert await reader.read(1) == b""
        assert type(reader) is asyncio.StreamReader
        assert loop.made > before
        writer.close()
        server.close()

    with asyncio.Runner(loop_factory=Futures) as runner:
        runner.run(main())
