"""Fill the tables of README.md and docs/ from benches/results, so that nobody types a number.

A block that begins with ``<!-- table:NAME -->`` and ends with ``<!-- /table -->`` holds what the renderer of
that name makes of ``benches/results/NAME.json``. ``tables.py`` writes the blocks; ``tables.py --check`` only
says which are out of date.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"(<!-- table:(?P<name>[\w-]+) -->\n)(?P<body>.*?)(<!-- /table -->)", re.DOTALL)
THOUSAND = 1000
UNMEASURED = "*Not measured yet; `make bench` does.*\n"


def markdown_table(rows: list[dict[str, Any]]) -> str:
    """Draw rows as a table whose columns are the first row's keys, underscores read as spaces."""
    columns = list(rows[0])
    numeric = [all(isinstance(row[column], int | float) for row in rows) for column in columns]
    lines = [
        [column.replace("_", " ") for column in columns],
        ["---:" if right else "---" for right in numeric],
        *([cell(row[column]) for column in columns] for row in rows),
    ]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def cell(value: object) -> str:
    """Write one value so that it fits a cell: three significant digits, no bar, no line break."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < THOUSAND else f"{value:,.0f}"
    return " ".join(str(value).replace("|", "\\|").split())


def plain_rows(results: object) -> str:
    """Render results that are a list of flat dicts, or that hold one under ``rows``."""
    rows = results.get("rows") if isinstance(results, dict) else results
    return markdown_table(rows) if rows else UNMEASURED


RENDERERS: dict[str, Callable[[Any], str]] = {}
"""Renderers of results that are not plain rows, by the name of the result file."""


def caption(record: dict[str, Any]) -> str:
    """Say in one line what the figures of a result file belong to."""
    machine, python = record["machine"], record["versions"]["python"]
    where = f"{machine['cpu']}, {machine['cores']} cores, Linux {machine['kernel']}, CPython {python}"
    when = f"{record['date']}, commit {record['commit']}, median of {record['repeats']}"
    return f"\n*{where}; {when}: `{record['command']}`*\n"


def render(name: str, results_folder: Path) -> str:
    """Give the body of the block `name`."""
    path = results_folder / f"{name}.json"
    if not path.exists():
        return UNMEASURED
    record = json.loads(path.read_text(encoding="utf-8"))
    return RENDERERS.get(name, plain_rows)(record["results"]) + caption(record)


def filled(text: str, results_folder: Path) -> str:
    """Give `text` with every block as it should be."""
    return BLOCK.sub(lambda block: block[1] + render(block["name"], results_folder) + block[4], text)


def main(arguments: list[str], root: Path = ROOT) -> int:
    """Write the blocks, or with ``--check`` name the files that need it; return the exit code."""
    stale = []
    for path in [root / "README.md", *sorted(root.glob("docs/**/*.md"))]:
        text = path.read_text(encoding="utf-8")
        new = filled(text, root / "benches" / "results")
        if new != text:
            stale.append(path)
            if "--check" not in arguments:
                path.write_text(new, encoding="utf-8")
    verb = "is out of date: run `make tables`" if "--check" in arguments else "written"
    print("\n".join(f"{path.relative_to(root)} {verb}" for path in stale) or "all tables are current")
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
