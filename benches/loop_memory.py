"""What an idle connection costs in memory, on whichever.EventLoop, asyncio's, uvloop and rloop.

Each loop serves in a process of its own; `whichever-load` opens 1000 connections, which warm the allocator up, then
9000 more, and holds them. The memory that came with these 9000 and is the server's alone is divided among them.
What is left above the Python objects that a transport has for itself (it, its protocol, socket, addresses, context)
is the loop's, and what the allocators waste.

    python benches/loop_memory.py [--connections 10000] [--rounds 3] [--loop NAME ...] [--out loop_memory]

writes benches/results/loop_memory.json. Loops that are not installed are left out (`make bench-loops` installs them).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import resource
import socket
import statistics
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _load import built_load
from _loop_kinds import OURS, installed, versions
from _result import interleave, write_result
from loops import START_S, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVER = Path(__file__).resolve().with_name("_loop_idle.py")
WARM = 1000
AT_MOST = 900
"""Bytes a connection, above its Python objects."""


@contextlib.contextmanager
def child(*command: object) -> Iterator[subprocess.Popen[str]]:
    """Run a process that says ``ready``, until its standard input ends."""
    process = subprocess.Popen([str(word) for word in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               text=True)  # fmt: skip
    try:
        assert process.stdout
        if process.stdout.readline().strip() != "ready":
            msg = f"{command[0]} did not start"
            raise RuntimeError(msg)
        yield process
    finally:
        process.kill()
        process.communicate()


def state(server: subprocess.Popen[str], connections: int) -> dict[str, int]:
    """Ask a server until it has so many connections; give what it tells."""
    assert server.stdin
    assert server.stdout
    end = time.monotonic() + START_S
    while True:
        server.stdin.write("\n")
        server.stdin.flush()
        told: dict[str, int] = json.loads(server.stdout.readline())
        if told["connections"] == connections:
            return told
        if time.monotonic() > end:
            msg = f"{told['connections']} of {connections} connections were made"
            raise RuntimeError(msg)
        time.sleep(0.05)


def measure(loop: str, load: Path, connections: int) -> dict[str, float]:
    """Give the bytes of a connection on one loop."""
    port = free_port(socket.SOCK_STREAM)
    address = f"127.0.0.1:{port}"
    with (
        child(sys.executable, SERVER, loop, port) as server,
        child(load, "hold", "tcp", address, WARM),
    ):
        before = state(server, WARM)
        with child(load, "hold", "tcp", address, connections - WARM):
            after = state(server, connections)
    each = (after["private"] - before["private"]) / (connections - WARM)
    return {"each": each, "objects": after["objects"]}


def rows_of(options: argparse.Namespace, load: Path) -> list[dict[str, Any]]:
    """Measure every loop."""
    contenders = {loop: partial(measure, loop, load, options.connections) for loop in options.loop}
    rows = []
    for loop, found in interleave(contenders, options.rounds).items():
        each = statistics.median(figure["each"] for figure in found)
        objects = found[0]["objects"]
        rows.append({
            "loop": loop, "connections held": options.connections, "bytes each": round(each),
            "of them Python objects": round(objects), "above": round(each - objects),
            "at most": AT_MOST if loop == OURS else None,
            "kept": each - objects <= AT_MOST if loop == OURS else None,
        })  # fmt: skip
        print(*rows[-1].values(), sep="  ", flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--connections", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--loop", action="append", choices=installed())
    parser.add_argument("--out", default="loop_memory")
    options = parser.parse_args()
    options.loop = options.loop or installed()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if most < options.connections + WARM:
        parser.error(f"only {most} files may be open (ulimit -Hn): ask for fewer --connections")
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    rows = rows_of(options, built_load())
    print(write_result(options.out, {"rivals": versions(), "rows": rows}, repeats=options.rounds))


if __name__ == "__main__":
    main()
