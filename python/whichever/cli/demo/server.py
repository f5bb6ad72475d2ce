"""A small HTTP and WebSocket server in a process of its own, for jobs that wait on a network.

Run as ``python -m whichever.cli.demo.server``. It prints its port, answers each request after a set delay,
and ends when its standard input does: with whoever started it, however that one ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from typing import TYPE_CHECKING

from whichever.cli.demo import websocket

if TYPE_CHECKING:
    from collections.abc import Iterator

START_SECONDS = 20
"""How long a server may take to say its port: far more than a loaded machine needs."""


ROWS = 1600


class ServerError(RuntimeError):
    """The job's server did not start."""


@contextlib.contextmanager
def running(delay_ms: int) -> Iterator[int]:
    """Run a server that waits `delay_ms` before each answer, for as long as the block runs; give its port."""
    command = [sys.executable, "-P", "-m", "whichever.cli.demo.server", str(delay_ms)]
    # A session of its own: Ctrl-C reaches whoever runs the jobs, who then ends the server here.
    with subprocess.Popen(  # noqa: S603 - this very module, with a number
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        try:
            yield _port_of(process)
        finally:
            process.kill()


def _port_of(process: subprocess.Popen[bytes]) -> int:
    if process.stdout is None:  # pragma: no cover - it was opened as a pipe
        raise ServerError
    said = process.stdout.readline()
    if not said:
        msg = f"the job's server ended at once (exit code {process.wait(START_SECONDS)})"
        raise ServerError(msg)
    return int(said)


class Server:
    """Answers ``GET /KIND/NUMBER`` with a page, and WebSocket messages with themselves."""

    def __init__(self, delay_ms: int) -> None:
        self._delay = delay_ms / 1000

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection to its end."""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            request = await reader.readuntil(b"\r\n\r\n")
            key = websocket.key_in(request)
            if key is None:
                await self._answer_page(request, writer)
            else:
                await self._echo(key, reader, writer)
        writer.close()

    async def _answer_page(self, request: bytes, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(self._delay)
        number = int(request.split(maxsplit=2)[1].rsplit(b"/", 1)[1])
        body = page(number).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()

    async def _echo(self, key: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(websocket.accept(key))
        while True:
            message = await websocket.receive(reader)
            await asyncio.sleep(self._delay)
            writer.write(websocket.frame(message))
            await writer.drain()


def page(number: int) -> str:
    """Make page `number`: a table of 1600 readings as CSV, about 40 kB."""
    rows = (
        f"{number},{row},{(number * 7919 + row * 104729) % 100_003},{(number + row) % 97 / 7:.6f},ok"
        for row in range(ROWS)
    )
    return "page,row,reading,share,state\n" + "\n".join(rows) + "\n"


async def _run(delay_ms: int) -> None:
    server = await asyncio.start_server(Server(delay_ms).serve, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201 - how the port is told
    parent = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(parent), sys.stdin.buffer
    )
    await parent.read()
    server.close()


if __name__ == "__main__":
    asyncio.run(_run(int(sys.argv[1])))
