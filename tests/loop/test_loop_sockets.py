"""Plain sockets and descriptors on a loop: sock_*, readers and writers, UDP, Unix sockets, files sent by the kernel."""

import asyncio
import os
import random
import socket
import tempfile

import pytest
from peers import Echo, Recorder, until


@pytest.fixture
def pair():
    left, right = socket.socketpair()
    left.setblocking(False)
    right.setblocking(False)
    with left, right:
        yield left, right


class TestSockets:
    def test_bytes_cross_in_both_ways(self, loop, run, pair):
        left, right = pair

        async def main():
            await loop.sock_sendall(left, b"hello")
            assert await loop.sock_recv(right, 100) == b"hello"
            reading = asyncio.ensure_future(loop.sock_recv(left, 100))
            await asyncio.sleep(0)
            assert not reading.done()
            await loop.sock_sendall(right, b"back")
            assert await reading == b"back"
            right.shutdown(socket.SHUT_WR)
            assert await loop.sock_recv(left, 100) == b""

        run(main())

    def test_a_large_message_waits_for_its_reader(self, loop, run, pair):
        left, right = pair
        message = random.Random(5).randbytes(3_000_000)

        async def main():
            sending = asyncio.ensure_future(loop.sock_sendall(left, message))
            got = bytearray()
            while len(got) < len(message):
                got += await loop.sock_recv(right, 100_000)
            await sending
            assert got == message

        run(main())

    def test_bytes_can_go_into_a_buffer(self, loop, run, pair):
        left, right = pair

        async def main():
            buffer = bytearray(10)
            reading = asyncio.ensure_future(loop.sock_recv_into(right, buffer))
            await asyncio.sleep(0)
            await loop.sock_sendall(left, b"hello")
            assert await reading == 5
            assert buffer[:5] == b"hello"

        run(main())

    def test_a_read_that_is_cancelled_takes_nothing_away(self, loop, run, pair):
        left, right = pair

        async def main():
            for turn in range(100):
                reading = asyncio.ensure_future(loop.sock_recv(right, 100))
                await asyncio.sleep(0)
                reading.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await reading
                left.send(b"%d" % turn)
                assert await loop.sock_recv(right, 100) == b"%d" % turn

        run(main())

    def test_a_socket_that_a_task_waits_for_is_closed_when_it_has_stopped_waiting(self, kind, loop, run):
        if kind == "asyncio":
            pytest.skip("on asyncio's loop the task waits for ever, or for another connection's bytes")

        async def main():
            left, right = socket.socketpair()
            left.setblocking(False)
            reading = asyncio.ensure_future(loop.sock_recv(left, 10))
            await asyncio.sleep(0)
            left.close()
            number = left.fileno()
            assert number != -1
            with socket.socket() as other:
                assert other.fileno() != number
            right.send(b"late")
            assert await reading == b"late"
            assert left.fileno() == -1
            right.close()

        run(main())

    def test_closing_the_loop_closes_sockets_that_tasks_waited_for(self, kind, new_loop):
        if kind == "asyncio":
            pytest.skip("asyncio's loop does not know them")

        async def wait(sock):
            await asyncio.get_running_loop().sock_recv(sock, 10)

        async def main():
            task = asyncio.ensure_future(wait(left))
            await asyncio.sleep(0)
            return task

        left, right = socket.socketpair()
        left.setblocking(False)
        loop = new_loop()
        task = loop.run_until_complete(main())
        left.close()
        assert left.fileno() != -1
        loop.close()
        assert left.fileno() == -1
        right.close()
        task._log_destroy_pending = False
        with pytest.raises(asyncio.CancelledError):
            task.get_coro().throw(asyncio.CancelledError)

    def test_connecting_and_accepting(self, loop, run):
        async def main():
            with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as client:
                listener.setblocking(False)
                client.setblocking(False)
                accepting = asyncio.ensure_future(loop.sock_accept(listener))
                await loop.sock_connect(client, listener.getsockname())
                accepted, address = await accepting
                with accepted:
                    assert address == client.getsockname()
                    assert accepted.gettimeout() == 0

        run(main())

    def test_a_refused_connection_says_so(self, loop, run):
        async def main():
            with socket.socket() as probe, socket.socket() as client:
                probe.bind(("127.0.0.1", 0))
                client.setblocking(False)
                with pytest.raises(ConnectionRefusedError):
                    await loop.sock_connect(client, probe.getsockname())

        run(main())

    def test_datagrams_cross(self, loop, run):
        async def main():
            kind = socket.AF_INET, socket.SOCK_DGRAM
            with socket.socket(*kind) as left, socket.socket(*kind) as right:
                for one in (left, right):
                    one.setblocking(False)
                    one.bind(("127.0.0.1", 0))
                await loop.sock_sendto(left, b"hello", right.getsockname())
                assert await loop.sock_recvfrom(right, 100) == (b"hello", left.getsockname())
                buffer = bytearray(10)
                await loop.sock_sendto(right, b"back", left.getsockname())
                assert await loop.sock_recvfrom_into(left, buffer) == (4, right.getsockname())

        run(main())

    def test_a_blocking_socket_is_refused_in_debug_mode(self, loop, run, pair):
        loop.set_debug(True)
        left, _ = pair
        left.setblocking(True)

        async def main():
            for work in (loop.sock_recv(left, 1), loop.sock_sendall(left, b"x")):
                with pytest.raises(ValueError, match="non-blocking"):
                    await work

        run(main())


class TestReaders:
    def test_a_reader_is_called_while_there_is_something_to_read(self, loop, pair):
        left, right = pair
        seen = []

        def read(word):
            seen.append((word, right.recv(1)))
            if len(seen) == 3:
                loop.stop()

        loop.add_reader(right, read, "word")
        left.send(b"abc")
        loop.run_forever()
        assert seen == [("word", b"a"), ("word", b"b"), ("word", b"c")]
        assert loop.remove_reader(right) is True
        assert loop.remove_reader(right) is False

    def test_a_second_reader_takes_the_place_of_the_first(self, loop, pair):
        left, right = pair
        seen = []
        loop.add_reader(right.fileno(), seen.append, "first")
        loop.add_reader(right.fileno(), lambda: (seen.append("second"), right.recv(1), loop.stop()))
        left.send(b"x")
        loop.run_forever()
        assert seen == ["second"]
        loop.remove_reader(right)

    def test_reader_and_writer_of_one_descriptor_do_not_disturb_each_other(self, loop, run, pair):
        left, right = pair
        seen = []

        async def main():
            loop.add_reader(right, lambda: seen.append(right.recv(10)))
            loop.add_writer(right, lambda: (seen.append("writable"), loop.remove_writer(right)))
            await until(lambda: "writable" in seen)
            left.send(b"data")
            await until(lambda: b"data" in seen)
            assert seen == ["writable", b"data"]
            assert loop.remove_writer(right) is False
            assert loop.remove_reader(right) is True

        run(main())

    def test_a_removed_reader_is_not_called_even_in_the_same_turn(self, loop, run):
        pairs = [socket.socketpair() for _ in range(2)]
        seen = []

        def read(index):
            seen.append(index)
            for _, right in pairs:
                loop.remove_reader(right)

        async def main():
            for index, (left, right) in enumerate(pairs):
                loop.add_reader(right, read, index)
                left.send(b"x")
            await until(lambda: seen)
            await asyncio.sleep(0.01)

        run(main())
        assert len(seen) == 1
        for left, right in pairs:
            left.close()
            right.close()

    def test_a_descriptor_number_that_is_used_again_is_another_one(self, loop, run):
        async def main():
            for turn in range(50):
                left, right = socket.socketpair()
                seen = []
                loop.add_reader(right, seen.append, turn)
                left.send(b"x")
                await until(lambda: seen)  # noqa: B023
                loop.remove_reader(right)
                left.close()
                right.close()

        run(main())

    def test_a_descriptor_that_is_closed_before_it_is_removed_does_not_stop_the_loop(self, loop, run):
        async def main():
            left, right = socket.socketpair()
            number = right.fileno()
            loop.add_reader(number, lambda: None)
            right.close()
            left.close()
            loop.remove_reader(number)
            other, another = socket.socketpair()
            seen = []
            loop.add_reader(another, seen.append, 1)
            other.send(b"x")
            await until(lambda: seen)
            loop.remove_reader(another)
            other.close()
            another.close()

        run(main())

    @pytest.mark.parametrize("thing", [-1, "text", 10**9, None])
    def test_what_is_no_descriptor_is_refused(self, loop, thing):
        with pytest.raises((ValueError, OSError, TypeError)):
            loop.add_reader(thing, print)

    def test_a_regular_file_cannot_be_watched(self, loop):
        with tempfile.TemporaryFile() as file, pytest.raises(PermissionError):
            loop.add_reader(file, print)

    def test_a_reader_that_raises_is_told_of_and_stays(self, loop, run, pair):
        left, right = pair

        def broken():
            right.recv(1)
            raise ZeroDivisionError

        async def main():
            loop.add_reader(right, broken)
            left.send(b"xy")
            await until(lambda: len(loop.told) == 2)
            loop.remove_reader(right)

        run(main())
        loop.told.clear()

    def test_the_descriptor_of_a_transport_may_not_be_watched(self, loop, run, pair):
        left, _ = pair

        async def main():
            transport, protocol = await loop.create_connection(Recorder, sock=left)
            with pytest.raises(RuntimeError, match="transport"):
                loop.add_reader(transport.get_extra_info("socket").fileno(), print)
            transport.abort()
            await protocol.lost

        run(main())


class Datagrams(asyncio.DatagramProtocol):
    """Notes what arrives."""

    def __init__(self):
        self.got, self.errors, self.events = [], [], []
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, address):
        assert type(data) is bytes
        self.got.append((data, address))

    def error_received(self, error):
        self.errors.append(error)

    def connection_lost(self, error):
        self.lost.set_result(error)


class TestDatagrams:
    def test_datagrams_keep_their_bounds_and_know_their_sender(self, loop, run):
        async def main():
            _, one = await loop.create_datagram_endpoint(Datagrams, ("127.0.0.1", 0))
            address = one.transport.get_extra_info("sockname")
            _, two = await loop.create_datagram_endpoint(Datagrams, remote_addr=address)
            own = two.transport.get_extra_info("sockname")
            messages = [b"a", b"", b"x" * 60_000, bytearray(b"b"), memoryview(b"c")]
            for message in messages:
                two.transport.sendto(message)
            # asyncio sends nothing for an empty datagram before 3.13.
            wanted = [(bytes(message), own) for message in messages]
            await until(lambda: one.got and one.got[-1][0] == b"c")
            assert [item for item in one.got if item[0]] == [item for item in wanted if item[0]]
            one.transport.sendto(b"answer", own)
            await until(lambda: two.got)
            assert two.got == [(b"answer", address)]
            for endpoint in (one, two):
                endpoint.transport.close()
                assert endpoint.transport.is_closing()
                assert await endpoint.lost is None

        run(main())

    def test_a_thousand_datagrams_from_a_hundred_peers_come_back(self, loop, run):
        class Answering(Datagrams):
            def datagram_received(self, data, address):
                self.transport.sendto(data.upper(), address)

        async def main():
            _, server = await loop.create_datagram_endpoint(Answering, ("127.0.0.1", 0))
            address = server.transport.get_extra_info("sockname")
            clients = [
                (await loop.create_datagram_endpoint(Datagrams, remote_addr=address))[1] for _ in range(100)
            ]
            for turn in range(10):
                for client in clients:
                    client.transport.sendto(b"turn %d" % turn)
                await until(lambda: all(len(client.got) == turn + 1 for client in clients))  # noqa: B023
            for client in clients:
                assert [data for data, _ in client.got] == [b"TURN %d" % turn for turn in range(10)]
            for endpoint in (server, *clients):
                endpoint.transport.close()
                await endpoint.lost

        run(main())

    def test_a_peer_that_is_not_there_is_told_to_the_protocol(self, loop, run):
        async def main():
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                probe.bind(("127.0.0.1", 0))
                address = probe.getsockname()
            _, client = await loop.create_datagram_endpoint(Datagrams, remote_addr=address)
            client.transport.sendto(b"anybody?")
            await until(lambda: client.errors)
            assert isinstance(client.errors[0], ConnectionRefusedError)
            client.transport.abort()
            await client.lost

        run(main())

    def test_a_connected_endpoint_sends_to_nobody_else(self, loop, run):
        async def main():
            _, client = await loop.create_datagram_endpoint(Datagrams, remote_addr=("127.0.0.1", 9))
            with pytest.raises(ValueError, match="Invalid address"):
                client.transport.sendto(b"x", ("127.0.0.1", 10))
            with pytest.raises(TypeError):
                client.transport.sendto("text")
            client.transport.abort()
            await client.lost

        run(main())

    def test_a_protocol_may_close_when_it_is_told_of_an_error_and_is_told_of_the_next(self, kind, loop, run):
        class Closing(Datagrams):
            def error_received(self, error):
                super().error_received(error)
                self.transport.close()

        async def main():
            _, one = await loop.create_datagram_endpoint(Closing, ("127.0.0.1", 0))
            address = one.transport.get_extra_info("sockname")
            one.transport.sendto(b"x" * 70_000, address)
            one.transport.sendto(b"x" * 70_000, address)
            assert await one.lost is None
            assert len(one.errors) == 2
            if kind == "whichever":  # on asyncio's, an AttributeError
                one.transport.sendto(b"in vain", address)

        run(main())

    def test_a_datagram_that_is_too_long_is_told_and_the_endpoint_stays(self, loop, run):
        async def main():
            _, one = await loop.create_datagram_endpoint(Datagrams, ("127.0.0.1", 0))
            _, two = await loop.create_datagram_endpoint(
                Datagrams, remote_addr=one.transport.get_extra_info("sockname")
            )
            two.transport.sendto(b"x" * 70_000)
            await until(lambda: two.errors)
            two.transport.sendto(b"short")
            await until(lambda: one.got)
            for endpoint in (one, two):
                endpoint.transport.close()
                await endpoint.lost

        run(main())


class TestUnix:
    def test_a_unix_server_answers(self, loop, run, tmp_path):
        path = str(tmp_path / "socket")

        async def main():
            made = []
            server = await loop.create_unix_server(lambda: made.append(Echo()) or made[-1], path)
            _, client = await loop.create_unix_connection(Recorder, path)
            client.transport.write(b"x" * 200_000)
            await until(lambda: len(client.data) == 200_000)
            assert client.transport.get_extra_info("peername") == path
            client.transport.close()
            assert await client.lost is None
            await made[0].lost
            server.close()
            await server.wait_closed()

        run(main())

    def test_a_path_that_is_not_there_says_so(self, loop, run, tmp_path):
        async def main():
            with pytest.raises(FileNotFoundError):
                await loop.create_unix_connection(Recorder, str(tmp_path / "nothing"))

        run(main())


class TestFiles:
    @pytest.fixture
    def file(self):
        with tempfile.TemporaryFile() as made:
            made.write(random.Random(6).randbytes(1_000_000))
            made.flush()
            made.seek(0)
            yield made

    def test_a_socket_sends_a_file(self, loop, run, pair, file):
        left, right = pair

        async def main():
            sending = asyncio.ensure_future(loop.sock_sendfile(left, file, 1000, 500_000))
            got = bytearray()
            while len(got) < 500_000:
                got += await loop.sock_recv(right, 100_000)
            assert await sending == 500_000
            file.seek(1000)
            assert got == file.read(500_000)

        run(main())

    def test_a_transport_sends_a_file_after_what_was_written(self, loop, run, file):
        async def main():
            made = []
            server = await loop.create_server(lambda: made.append(Recorder()) or made[-1], "127.0.0.1", 0)
            _, client = await loop.create_connection(Recorder, *server.sockets[0].getsockname())
            client.transport.write(b"head")
            assert await loop.sendfile(client.transport, file) == 1_000_000
            client.transport.write(b"tail")
            client.transport.close()
            await client.lost
            await made[0].lost
            file.seek(0)
            assert made[0].data == b"head" + file.read() + b"tail"
            server.close()
            await server.wait_closed()

        run(main())


class TestPipes:
    def test_a_pipe_is_read_to_its_end(self, loop, run):
        async def main():
            reading, writing = os.pipe()
            transport, protocol = await loop.connect_read_pipe(Recorder, os.fdopen(reading, "rb", 0))
            assert isinstance(transport, asyncio.ReadTransport)
            os.write(writing, b"hello")
            await until(lambda: protocol.data == b"hello")
            os.close(writing)
            assert await protocol.lost is None
            assert protocol.events == ["made", "data", "eof", "lost"]

        run(main())

    def test_a_pipe_is_written_and_closed(self, loop, run):
        async def main():
            reading, writing = os.pipe()
            transport, protocol = await loop.connect_write_pipe(Recorder, os.fdopen(writing, "wb", 0))
            message = random.Random(7).randbytes(500_000)
            transport.write(message)
            got = bytearray()
            os.set_blocking(reading, False)
            while len(got) < len(message):
                try:
                    got += os.read(reading, 1 << 20)
                except BlockingIOError:
                    await asyncio.sleep(0)
            assert got == message
            transport.close()
            await protocol.lost
            os.close(reading)

        run(main())

    def test_a_pipe_whose_reader_has_gone_ends_with_an_error(self, loop, run):
        async def main():
            reading, writing = os.pipe()
            transport, protocol = await loop.connect_write_pipe(Recorder, os.fdopen(writing, "wb", 0))
            os.close(reading)
            transport.write(b"x")
            error = await protocol.lost
            assert error is None or isinstance(error, BrokenPipeError)

        run(main())

    def test_a_regular_file_is_no_pipe(self, loop, run):
        with tempfile.TemporaryFile() as file, pytest.raises(ValueError, match="for pipes"):
            run(loop.connect_read_pipe(Recorder, file))
