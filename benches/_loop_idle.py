"""A server whose connections do nothing, for `loop_memory.py`: tells what they take whenever it is asked.

    _loop_idle.py LOOP PORT

Says ``ready``; then, for each line of standard input, prints one line of JSON: how many connections there are, the
bytes of memory that are this process's alone, and the bytes of the Python objects that one connection has for itself.
"""

from __future__ import annotations

import asyncio
import gc
import json
import resource
import sys
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from _loop_kinds import new_loop

BACKLOG = 4096
SHARED = (asyncio.AbstractEventLoop, asyncio.AbstractServer, ModuleType, FunctionType, type)


class Idle(asyncio.Protocol):
    """Keeps its transport, as protocols do."""

    __slots__ = ("transport",)

    alive: list[Idle] = []  # noqa: RUF012 - one for all, as the loop is

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.alive.append(self)


def private_bytes() -> int:
    """Give the memory that is this process's alone."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    fields = (line.split() for line in lines[1:])
    return sum(int(field[1]) * 1024 for field in fields if field[0].startswith("Private_"))


def reached(transport: Any) -> dict[int, Any]:
    """Find the objects behind a transport, short of the loop, the server, and what belongs to the program."""
    found: dict[int, Any] = {}
    edge = [transport]
    while edge:
        one = edge.pop()
        if id(one) not in found and not isinstance(one, SHARED):
            found[id(one)] = one
            edge += gc.get_referents(one)
    return found


def objects_bytes(transport: Any, other: Any) -> int:
    """Give the bytes of the Python objects that a transport has for itself: those that another has not."""
    own, others = reached(transport), reached(other)
    return sum(sys.getsizeof(one) for key, one in own.items() if key not in others)


def state() -> dict[str, int]:
    gc.collect()
    alive = Idle.alive
    return {
        "connections": len(alive),
        "private": private_bytes(),
        "objects": objects_bytes(alive[0].transport, alive[1].transport) if len(alive) > 1 else 0,
    }


async def serve(port: int) -> None:
    loop = asyncio.get_running_loop()
    await loop.create_server(Idle, "127.0.0.1", port, backlog=BACKLOG)
    print("ready", flush=True)
    while await loop.run_in_executor(None, sys.stdin.readline):
        print(json.dumps(state()), flush=True)


def main() -> None:
    name, port = sys.argv[1:]
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    loop = new_loop(name)
    asyncio.set_event_loop(loop)
    loop.run_until_complete(serve(int(port)))


if __name__ == "__main__":
    main()
