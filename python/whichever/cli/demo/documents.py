"""Parse, transform and write JSON documents."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whichever.cli.demo.job import Job
from whichever.cli.demo.sources import largest_files

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCUMENTS = 100
FILES_EACH = 4


def summarise(document: str) -> str:
    """Bring a document of source files and lines down to what is imported where, as JSON."""
    files: list[dict[str, Any]] = json.loads(document)
    return json.dumps(
        [
            {
                "name": file["name"],
                "lines": len(file["lines"]),
                "words": len({word for line in file["lines"] for word in line["words"]}),
                "imports": sorted({line["text"].split()[1] for line in file["lines"] if line["import"]}),
                "deepest": max((line["indent"] for line in file["lines"]), default=0),
            }
            for file in files
        ]
    )


@contextlib.contextmanager
def documents() -> Iterator[list[str]]:
    """Give JSON documents, each made of some of the standard library's source files."""
    paths = largest_files(DOCUMENTS * FILES_EACH)
    starts = range(0, len(paths), FILES_EACH)
    yield [json.dumps([_described(path) for path in paths[at : at + FILES_EACH]]) for at in starts]


def _described(path: str) -> dict[str, Any]:
    lines = Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    return {"name": Path(path).name, "lines": [_line(text) for text in lines]}


def _line(text: str) -> dict[str, Any]:
    bare = text.strip()
    return {
        "text": bare,
        "words": bare.split(),
        "indent": len(text) - len(text.lstrip()),
        "import": bare.startswith(("import ", "from ")) and len(bare.split()) > 1,
    }


JOB = Job(
    title="JSON documents",
    task="Parse a JSON document of several hundred kB, pick some of it, write it as JSON.",
    fn=summarise,
    items=documents,
    textbook="processes",
    because="computing: processes",
)
