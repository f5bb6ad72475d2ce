"""Keep two promises no compiler keeps: where unsafe code lives, and no path of one machine anywhere."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

from check_sizes import tracked

if TYPE_CHECKING:
    from pathlib import Path

UNSAFE_CRATES = {"whichever-sys", "whichever-ring", "whichever-py", "whichever-truth"}
"""The seams to the kernel, to shared memory and to Python; and the C library that tests take as the truth."""

FORBID = "#![forbid(unsafe_code)]"
STRING_OR_COMMENT = re.compile(r'"(?:\\.|[^"\\])*"|//[^\n]*', re.DOTALL)
MACHINE_PATH = re.compile(r"(?<![\w./~-])/(?:root|work|opt/py|home/\w+|Users/\w+)/")
BINARY = {".png", ".gz", ".bin", ".ico", ".db", ".parquet", ".woff2"}


def unsafe_complaints(path: Path, text: str) -> list[str]:
    """Say where a Rust file outside the unsafe crates uses unsafe code, or does not forbid it."""
    crate = path.parts[1]
    if crate in UNSAFE_CRATES:
        return []
    complaints = []
    if path.name == "lib.rs" and FORBID not in text:
        complaints.append(f"{path}: must say {FORBID}")
    code = STRING_OR_COMMENT.sub("", text)
    if re.search(r"\bunsafe\b", code):
        complaints.append(f"{path}: unsafe code outside {', '.join(sorted(UNSAFE_CRATES))}")
    return complaints


def path_complaints(path: Path, text: str) -> list[str]:
    """Say which lines name a folder that only one machine has."""
    return [
        f"{path}:{number}: names a folder of one machine: {found.group()}"
        for number, line in enumerate(text.splitlines(), start=1)
        if (found := MACHINE_PATH.search(line))
    ]


def main() -> int:
    """Check the whole tree; return the exit code."""
    complaints: list[str] = []
    for path in tracked(".rs"):
        complaints += unsafe_complaints(path, path.read_text())
    for path in tracked():
        if path.suffix not in BINARY:
            complaints += path_complaints(path, path.read_text(errors="replace"))
    print("\n".join(complaints) or "unsafe code and paths are where they belong")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
