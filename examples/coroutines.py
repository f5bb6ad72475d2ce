"""Ask about a coroutine function: a server that answers slowly, and a client that asks it many times."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator

import whichever


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Think for 5 ms, then send the line back in capitals."""
    line = await reader.readline()
    await asyncio.sleep(0.005)
    writer.write(line.upper())
    await writer.drain()
    writer.close()


@contextlib.contextmanager
def server() -> Iterator[int]:
    """Answer on a port of its own, in a thread of its own, while the block runs."""
    loop = asyncio.new_event_loop()
    listening = loop.run_until_complete(asyncio.start_server(answer, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        loop.call_soon_threadsafe(listening.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def ask(question: tuple[int, str]) -> str:
    """Connect, send a line, return the line that comes back."""
    port, text = question
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"{text}\n".encode())
    reply = await reader.readline()
    writer.close()
    await writer.wait_closed()
    return reply.decode().strip()


if __name__ == "__main__":
    with server() as port:
        verdict = whichever.which(ask, [(port, f"question {number}") for number in range(200)])
    print(verdict)
    print(verdict.samples[0][1])
