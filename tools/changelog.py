"""Move the fragments of changes/ into CHANGELOG.md, as the section of a version that is being released.

changelog.py VERSION
"""

from __future__ import annotations

import datetime as dt
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KINDS = ("added", "changed", "deprecated", "removed", "fixed", "security")
NAME = re.compile(rf"[a-z0-9-]+\.({'|'.join(KINDS)})\.md")
UNRELEASED = "## [Unreleased]\n"


def fragments(folder: Path) -> dict[str, list[Path]]:
    """Give the fragments by kind, in the changelog's order; end when a file's name is not a fragment's."""
    found: dict[str, list[Path]] = {kind: [] for kind in KINDS}
    for path in sorted(folder.glob("*")):
        if path.name == "README.md":
            continue
        match = NAME.fullmatch(path.name)
        if not match:
            sys.exit(f"changelog: {path.name} is not SUBJECT.KIND.md with one of: {', '.join(KINDS)}")
        found[match[1]].append(path)
    return {kind: paths for kind, paths in found.items() if paths}


def section(version: str, day: str, found: dict[str, list[Path]]) -> str:
    """Write a version's section."""
    lines = [f"\n## [{version}] - {day}\n"]
    for kind, paths in found.items():
        lines.append(f"\n### {kind.capitalize()}\n\n")
        for path in paths:
            text = path.read_text(encoding="utf-8").strip().replace("\n", "\n  ")
            lines.append(f"- {text}\n")
    return "".join(lines)


def release(version: str, root: Path, day: str) -> int:
    """Rewrite the changelog and delete the fragments; return how many there were."""
    found = fragments(root / "changes")
    paths = [path for group in found.values() for path in group]
    if not paths:
        sys.exit("changelog: no fragments, so nothing to release")
    changelog = root / "CHANGELOG.md"
    before, heading, after = changelog.read_text(encoding="utf-8").partition(UNRELEASED)
    if not heading:
        sys.exit(f"changelog: CHANGELOG.md has no line {UNRELEASED.strip()!r}")
    changelog.write_text(before + heading + section(version, day, found) + after, encoding="utf-8")
    for path in paths:
        path.unlink()
    return len(paths)


if __name__ == "__main__":
    if len(sys.argv) != 2:  # noqa: PLR2004 (the program and the version)
        sys.exit(__doc__)
    today = dt.datetime.now(dt.UTC).strftime("%Y-%m-%d")
    print(f"{release(sys.argv[1], ROOT, today)} fragments moved into CHANGELOG.md")
