"""Headless Chromium for the pages we make: started per page, bounded in time, and off every network."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "advisor"))  # the example verdicts

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--enable-logging=stderr",
    "--window-size=900,3200",
    "--host-resolver-rules=MAP * ~NOTFOUND",
)


class Chromium:
    """One browser program; every call is a fresh browser with a fresh profile."""

    def __init__(self, program, folder):
        self.program = program
        self.folder = folder
        self.runs = 0

    def run(self, page, *flags):
        """Open a page and give the program's output and what its console said."""
        self.runs += 1
        profile = self.folder / f"profile-{self.runs}"
        command = [self.program, *FLAGS, f"--user-data-dir={profile}", *flags, page.as_uri()]
        done = subprocess.run(command, capture_output=True, timeout=90, check=True)
        console = [line for line in done.stderr.decode("utf-8", "replace").splitlines() if "CONSOLE" in line]
        return done.stdout.decode("utf-8"), console

    def screenshot(self, page, *, dark):
        """Draw a page in one of the two colour schemes."""
        picture = self.folder / f"{page.stem}-{'dark' if dark else 'light'}.png"
        scheme = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
        self.run(page, scheme, f"--screenshot={picture}")
        return picture.read_bytes()


@pytest.fixture(scope="session")
def chromium(tmp_path_factory):
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip(f"no headless browser here: none of {', '.join(NAMES)} is installed")
    return Chromium(program, tmp_path_factory.mktemp("chromium"))
