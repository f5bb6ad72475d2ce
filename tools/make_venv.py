"""Make the virtual environment that every make target uses.

Runs under whatever ``python3`` the user has, so it says what is wrong in words, and uses no syntax newer than
Python 3.6 before it has checked the version.
"""

import subprocess
import sys

NEEDED = (3, 11)


def fail(message):
    """End with `message` for the user."""
    sys.exit("make: " + message)


def main(folder):
    """Make the environment `folder` and put pip and maturin into it."""
    if sys.version_info < NEEDED:
        version = ".".join(str(part) for part in sys.version_info[:3])
        fail(
            "whichever needs Python 3.11 or later, and this is {} ({}). "
            "Name a newer one: make demo PYTHON=python3.12".format(version, sys.executable)
        )
    sys.stderr.write("making {} with Python {}.{}.{}\n".format(folder, *sys.version_info[:3]))
    made = subprocess.run(
        [sys.executable, "-m", "venv", folder], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if made.returncode:
        sys.stderr.write(made.stdout.decode(errors="replace"))
        fail("no virtual environment could be made; on Debian and Ubuntu: apt-get install python3-venv")
    install = [folder + "/bin/python", "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    installed = subprocess.call([*install, "--upgrade", "pip", "maturin>=1.9,<2"])
    if installed:
        fail("pip could not install maturin (see above); is a package index reachable?")


if __name__ == "__main__":
    main(sys.argv[1])
