"""A Python program run as its user runs it: a real process in a group of its own, bounded in time."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

SECONDS = 60


class Program:
    """A Python program in its own process group."""

    def __init__(self, folder, text, *, way="file", argv=(), warnings="error"):
        script = Path(folder) / "script.py"
        text = textwrap.dedent(text)
        script.write_text(text)
        command = {"file": [str(script)], "stdin": ["-"], "command": ["-c", text]}[way]
        self.process = subprocess.Popen(
            [sys.executable, "-X", "dev", "-W", warnings, *command, *argv],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=folder,
            process_group=0,
        )
        if way == "stdin":
            self.process.stdin.write(text)
        self.process.stdin.close()
        self.process.stdin = None

    def line(self):
        """Return the next line that it prints."""
        return self.process.stdout.readline().strip()

    def interrupt(self):
        """Send what Ctrl-C sends: SIGINT to the whole group."""
        os.killpg(self.process.pid, signal.SIGINT)

    def finish(self):
        """Return its further output, its error output and its exit code."""
        out, err = self.process.communicate(timeout=SECONDS)
        return out, err, self.process.returncode

    def group(self):
        """Return the processes of its group that are alive, zombies apart."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[2]) == self.process.pid and fields[0] not in "ZX":
                found.append(int(folder.name))
        return found

    def is_gone(self, seconds=5.0):
        """Say whether every process of the group ends within the bound."""
        end = time.monotonic() + seconds
        while self.group():
            if time.monotonic() > end:
                return False
            time.sleep(0.01)
        return True
