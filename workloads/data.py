"""Items made of real data: the standard library's own sources, and records from fixed seeds.

Guarantee: the same interpreter gives the same items at every call. Sizes are bytes.
"""

from __future__ import annotations

import os
import random
from functools import cache
from itertools import cycle, islice
from pathlib import Path

CITIES = ("Porto", "Lyon", "Graz", "Turku", "Ghent", "Split", "Cork", "Brno", "Tartu", "Vigo")


@cache
def source_paths(least_bytes: int = 2_000, most_bytes: int = 200_000) -> tuple[Path, ...]:
    """Return the standard library's source files of a size in the given range, by name."""
    root = Path(os.__file__).parent  # where it was found, which a moved installation may not know itself
    kept = [
        path
        for path in sorted(root.rglob("*.py"))
        if not {"site-packages", "dist-packages", "test", "tests", "lib2to3"}
        & set(path.relative_to(root).parts)
        and least_bytes <= path.stat().st_size <= most_bytes
    ]
    if not kept:
        msg = f"no standard library sources under {root}; is the interpreter installed without them?"
        raise FileNotFoundError(msg)
    return tuple(kept)


def source_texts(count: int, least_bytes: int = 20_000, most_bytes: int = 60_000) -> list[str]:
    """Return the text of `count` sources, starting again when there are fewer."""
    paths = source_paths(least_bytes, most_bytes)
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in paths[:count]]
    return list(islice(cycle(texts), count))


@cache
def _source_bytes() -> bytes:
    return b"".join(path.read_bytes() for path in source_paths())


def source_blocks(count: int, size: int) -> list[bytes]:
    """Return `count` distinct blocks of source text, overlapping where the sources are too few."""
    whole = _source_bytes()
    step = max(1, (len(whole) - size) // count)
    return [whole[index * step : index * step + size] for index in range(count)]


def random_bytes(count: int, size: int, seed: int = 7) -> list[bytes]:
    """Return `count` incompressible blocks."""
    numbers = random.Random(seed)
    return [numbers.randbytes(size) for _ in range(count)]


def records(count: int, seed: int = 7) -> list[dict[str, object]]:
    """Return `count` orders as a shop would keep them."""
    numbers = random.Random(seed)
    return [
        {
            "id": number,
            "city": numbers.choice(CITIES),
            "price": round(numbers.uniform(1, 500), 2),
            "count": numbers.randint(1, 9),
            "tags": numbers.sample(("new", "gift", "bulk", "fragile", "cold"), 2),
            "note": f"order {number} of customer {numbers.randrange(10_000):04}",
        }
        for number in range(count)
    ]


def csv_text(rows: int, seed: int = 7) -> str:
    """Return `rows` records as CSV with a header line."""
    lines = (f"{r['id']},{r['city']},{r['price']},{r['count']},{r['note']}\n" for r in records(rows, seed))
    return "id,city,price,count,note\n" + "".join(lines)


def xml_text(rows: int, seed: int = 7) -> str:
    """Return `rows` records as one XML document."""
    orders = (
        f'<order id="{r["id"]}"><city>{r["city"]}</city><price>{r["price"]}</price><note>{r["note"]}</note>'
        "</order>"
        for r in records(rows, seed)
    )
    return f"<?xml version='1.0'?><orders>{''.join(orders)}</orders>"
