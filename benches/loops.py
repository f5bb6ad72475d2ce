"""whichever.EventLoop beside asyncio's, uvloop and rloop, and the bare epoll server that is the floor of them all.

Servers of every loop stand side by side on one core, and the client, `whichever-load`, loads one after the other
from another core, round by round. What a message costs the server in CPU is the steadier figure: where the client
is the bottleneck, messages per second say too little of a fast server.

    python benches/loops.py [--quick] [--only TEXT] [--rounds 5] [--seconds 0.5] [--loop NAME ...] [--out loops]

writes benches/results/loops.json. Loops that are not installed are left out (`make bench-loops` installs them).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _load import built_load
from _loop_kinds import OURS, installed, versions
from _loop_server import BODY, HEAD, PAGE
from _result import ROOT, interleave, write_result

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVER = Path(__file__).resolve().with_name("_loop_server.py")
AUTHORITY = ROOT / "tests" / "loop" / "certs" / "authority.pem"
FLOOR = "floor"
AGAINST = "uvloop"
SERVER_CORE, CLIENT_CORE = 0, 1
REAL_TIME = 10
START_S = 20
CLIENT_S = 30
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
KINDS = {"unix": "unix", "udp": "udp", "tls": "tls"}
"""What the client speaks, where it is not TCP."""
FLOORS = {"protocol": "tcp", "unix": "unix", "udp": "udp"}
"""Modes that the bare server has."""


@dataclass(frozen=True)
class Cell:
    """One measurement of every loop.

    Attributes:
        mode: What the server is made of.
        connections: How many there are at once.
        message_bytes: The size of a message.
        at_least: How many times uvloop's messages per second ours is to reach; None for no promise.
    """

    mode: str
    connections: int
    message_bytes: int
    at_least: float | None = None

    def __str__(self) -> str:
        if self.mode in ("uvicorn", "aiohttp"):
            return f"{self.mode}, {self.connections} connections"
        size = (
            f"{self.message_bytes // 1024} KiB" if self.message_bytes >= 1024 else f"{self.message_bytes} B"
        )
        return f"{self.mode}, {size} x {self.connections}"


KIB = 1024
CELLS = (
    Cell("protocol", 1, KIB, 1.03),
    Cell("protocol", 10, KIB, 1.15),
    Cell("protocol", 100, KIB, 1.1),
    Cell("protocol", 1000, KIB, 1.4),
    Cell("protocol", 10, 10 * KIB, 1.25),
    Cell("protocol", 100, 100 * KIB, 1.0),
    Cell("pair", 100, 64, 1.15),
    Cell("buffered", 100, KIB),
    Cell("streams", 1, KIB),
    Cell("streams", 100, KIB, 1.4),
    Cell("sock", 1, KIB),
    Cell("sock", 100, KIB, 1.4),
    Cell("udp", 1, KIB),
    Cell("udp", 100, KIB, 1.35),
    Cell("unix", 1, KIB),
    Cell("unix", 100, KIB, 1.15),
    Cell("tls", 1, KIB),
    Cell("tls", 100, KIB, 1.05),
    Cell("uvicorn", 64, 0, 1.1),
    Cell("aiohttp", 64, 0, 1.1),
)


def alone(core: int) -> None:
    """Keep the process that is about to start on one core, before all others where that is allowed."""
    with contextlib.suppress(OSError):
        os.sched_setaffinity(0, {core})
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(REAL_TIME))


def cpu_s(pid: int) -> float:
    """Give the CPU seconds of all threads of a process."""
    spent = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            spent += int((task / "schedstat").read_text().split()[0])
    return spent / 1e9


def free_port(kind: int) -> int:
    """Find a port that nobody uses right now."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Server:
    """A server that runs.

    Attributes:
        process: Its process.
        address: Where the client finds it.
    """

    process: subprocess.Popen[str]
    address: str


def start(load: Path, name: str, mode: str, folder: str) -> Server:
    """Start a server and wait until it is ready."""
    if mode == "unix":
        address = where = str(Path(folder) / f"{name}.sock")
    else:
        address = str(free_port(socket.SOCK_DGRAM if mode == "udp" else socket.SOCK_STREAM))
        where = f"127.0.0.1:{address}"
    command = [str(load), "echo", FLOORS.get(mode, ""), where]
    if name != FLOOR:
        command = [sys.executable, str(SERVER), name, mode, address]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True,
        preexec_fn=partial(alone, SERVER_CORE),  # noqa: PLW1509 - no threads here
    )  # fmt: skip
    assert process.stdout
    signal.alarm(START_S)
    ready = process.stdout.readline()
    signal.alarm(0)
    if ready.strip() != "ready":
        process.kill()
        process.wait()
        msg = f"{name} {mode}: the server did not start"
        raise RuntimeError(msg)
    return Server(process, where)


@contextlib.contextmanager
def servers(load: Path, names: list[str], mode: str) -> Iterator[dict[str, Server]]:
    """Start a server on each loop; end them all."""
    running: dict[str, Server] = {}
    with tempfile.TemporaryDirectory() as folder:
        try:
            for name in names:
                if name == FLOOR and mode not in FLOORS:
                    continue
                try:
                    running[name] = start(load, name, mode, folder)
                except RuntimeError as reason:
                    print(reason, flush=True)
            yield running
        finally:
            for server in running.values():
                server.process.kill()
                server.process.wait()


def page_bytes(address: str) -> int:
    """Ask for the page once, for its size."""
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=START_S) as asking:
        asking.sendall(REQUEST)
        got = b""
        while not got.endswith(PAGE):
            got += asking.recv(1 << 16)
        return len(got)


def sizes(cell: Cell, server: Server, folder: Path) -> tuple[str, int]:
    """Give what the client sends, and how many bytes come back for it."""
    if cell.mode in ("uvicorn", "aiohttp"):
        request = folder / "request"
        request.write_bytes(REQUEST)
        return f"@{request}", page_bytes(server.address)
    if cell.mode == "pair":
        return str(cell.message_bytes), len(HEAD) + len(BODY)
    return str(cell.message_bytes), cell.message_bytes


def measure(load: Path, cell: Cell, server: Server, seconds: float, folder: Path) -> dict[str, float] | None:
    """Load one server once; None when that fails, with the reason on the screen."""
    message, answer = sizes(cell, server, folder)
    kind = KINDS.get(cell.mode, "tcp")
    command = [load, "drive", kind, server.address, cell.connections, message, answer, seconds]
    command += [AUTHORITY] if kind == "tls" else []
    before = cpu_s(server.process.pid)
    try:
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=True,
                              timeout=CLIENT_S, preexec_fn=partial(alone, CLIENT_CORE))  # fmt: skip
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as failure:
        print(f"{cell}: {failure} {failure.stderr}", flush=True)
        return None
    told = json.loads(done.stdout)
    used = cpu_s(server.process.pid) - before
    return {
        "per_s": told["messages"] / told["seconds"],
        "cpu_us": used / told["all_messages"] * 1e6 if told["all_messages"] else 0.0,
        "median_us": told["median_us"],
        "p99_us": told["p99_us"],
    }


def rows_of(cell: Cell, load: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure one cell on every loop."""
    with servers(load, [*options.loop, FLOOR], cell.mode) as running, tempfile.TemporaryDirectory() as folder:
        contenders = {
            name: partial(measure, load, cell, server, options.seconds, Path(folder))
            for name, server in running.items()
        }
        found = interleave(contenders, options.rounds)
    rows = []
    for name, figures in found.items():
        good = [figure for figure in figures if figure]
        if good:
            rows.append(row(cell, name, good))
            print(*rows[-1].values(), sep="  ", flush=True)
    return rows


def row(cell: Cell, name: str, figures: list[dict[str, float]]) -> dict[str, Any]:
    """Sum up one loop's rounds."""

    def middle(what: str) -> float:
        return statistics.median(figure[what] for figure in figures)

    rates = [figure["per_s"] for figure in figures]
    return {
        "figure": str(cell),
        "loop": name,
        "messages per second": round(middle("per_s")),
        "lowest": round(min(rates)),
        "highest": round(max(rates)),
        "CPU us per message": round(middle("cpu_us"), 2),
        "median us": middle("median_us"),
        "p99 us": middle("p99_us"),
    }


def compared(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Set ours beside uvloop, asyncio and the floor."""
    by = {(row["figure"], row["loop"]): row for row in rows}

    def times(figure: str, rival: str, what: str = "messages per second") -> float | None:
        ours, theirs = by.get((figure, OURS)), by.get((figure, rival))
        return round(ours[what] / theirs[what], 2) if ours and theirs and theirs[what] else None

    found = []
    for cell in CELLS:
        figure = str(cell)
        ratio = times(figure, AGAINST)
        if (figure, OURS) in by:
            found.append({
                "figure": figure,
                "x uvloop": ratio,
                "at least": cell.at_least,
                "kept": None if ratio is None or cell.at_least is None else ratio >= cell.at_least,
                "CPU of uvloop": times(figure, AGAINST, "CPU us per message"),
                "x asyncio": times(figure, "asyncio"),
                "x rloop": times(figure, "rloop"),
                "of the floor": times(figure, FLOOR),
            })  # fmt: skip
    return found


def asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one short round: does everything run?")
    parser.add_argument("--only", default="", help="part of the names of the figures to measure")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--loop", action="append", help="one of those to measure; all that are installed")
    parser.add_argument("--out", default="loops", help="name of the result file")
    options = parser.parse_args()
    options.loop = options.loop or installed()
    if options.quick:
        options.rounds, options.seconds = 1, 0.1
    return options


def main() -> None:
    options = asked()
    load = built_load("tls")
    rows: list[dict[str, Any]] = []
    for cell in CELLS:
        if options.only in str(cell):
            rows += rows_of(cell, load, options)
    targets = compared(rows)
    for target in targets:
        print(*target.values(), sep="  ")
    results = {"rivals": versions(), "targets": targets, "rows": rows}
    print(write_result(options.out, results, repeats=options.rounds))


if __name__ == "__main__":
    main()
