"""A throw-away PostgreSQL with one table of orders, in a temporary folder. Prints its port when ready.

PostgreSQL refuses to run as root; then it runs as `postgres` or `nobody`. The table is filled in single-user
mode, before the server starts, so that no client library is needed here.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from workloads.servers import announce, wait_for_starter

_READY_SECONDS = 30.0
_POLL_SECONDS = 0.02
_TABLE = (
    "CREATE TABLE orders AS SELECT i AS id, i % 1000 AS customer, 'city ' || i % 10 AS city,"
    " i * 37 % 500 AS price FROM generate_series(0, 29999) AS i;\n"
    "CREATE INDEX by_customer ON orders (customer);\n"
)


def main() -> None:
    """Serve until the starter says stop or is gone."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    folder = Path(tempfile.mkdtemp(prefix="workloads-postgres-"))
    try:
        serve(folder / "data")
    finally:
        shutil.rmtree(folder)


def serve(cluster: Path) -> None:
    """Make the cluster, run the server, stop it when the starter is done."""
    user = _unprivileged_user()
    if user is not None:
        shutil.chown(cluster.parent, user)
    _run(
        ["initdb", "-D", str(cluster), "-A", "trust", "-U", "whichever", "-E", "UTF8", "--no-locale", "-N"],
        user,
    )
    _run(["postgres", "--single", "-D", str(cluster), "-c", "fsync=off", "postgres"], user, feed=_TABLE)
    port = _free_port()
    options = ["-p", str(port), "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-F"]
    with (cluster.parent / "log").open("wb") as log:
        server = subprocess.Popen(
            [_program("postgres"), "-D", str(cluster), *options], cwd="/", user=user, stdout=log, stderr=log
        )
    try:
        _wait_until_ready(server, cluster)
        announce(port)
        wait_for_starter()
    finally:
        server.send_signal(signal.SIGINT)  # fast shutdown: sessions are cut, files are closed
        server.wait()


def _unprivileged_user() -> str | None:
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in ("postgres", "nobody") if name in known)


def _run(command: list[str], user: str | None, feed: str = "") -> None:
    command[0] = _program(command[0])
    done = subprocess.run(
        command, cwd="/", user=user, input=feed, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{command[0]}: {done.stderr}")


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        sys.exit(f"{name} is not installed")
    return found


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _wait_until_ready(server: subprocess.Popen[bytes], cluster: Path) -> None:
    """Wait for the last line of ``postmaster.pid`` to say so, as the server's own tools do."""
    deadline = time.monotonic() + _READY_SECONDS
    status = cluster / "postmaster.pid"
    while not (status.exists() and status.read_text().rstrip().endswith("ready")):
        if server.poll() is not None or time.monotonic() > deadline:
            sys.exit(f"postgres did not start: {(cluster.parent / 'log').read_text()}")
        time.sleep(_POLL_SECONDS)


if __name__ == "__main__":
    main()
