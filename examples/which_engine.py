"""Ask which engine suits a function: the whole question is one call."""

import hashlib
import sysconfig
from pathlib import Path

import whichever


def fingerprint(path: Path) -> str:
    """Hash a file so slowly that nobody can guess what was in it."""
    return hashlib.pbkdf2_hmac("sha256", path.read_bytes(), b"salt", 20_000).hex()


if __name__ == "__main__":
    files = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    print(whichever.which(fingerprint, files))
