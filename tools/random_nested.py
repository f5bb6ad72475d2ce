"""How a task of a random program uses a pool of its own: of the class that its program was told to try."""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

POOL_VARIABLE = "RANDOM_PROGRAMS_POOL"
"""Names the class, as MODULE:CLASS, for tasks wherever they run; empty for a plain loop."""
AUTO = "whichever:Pool"


def made(spec: str, workers: int | None = None, **options: Any) -> Any:
    """Make a pool; `options` are for the automatic one, and nothing is remembered of other programs."""
    module, _, name = spec.partition(":")
    make = getattr(importlib.import_module(module), name)
    if spec == AUTO:
        return make(workers=workers, remember=False, **options)
    return make() if workers is None else make(workers)


def mapped(fn: Callable[..., Any], items: list[Any]) -> list[Any]:
    """Map in a pool of the task's own, or in a plain loop."""
    spec = os.environ.get(POOL_VARIABLE, "") if items[0].log else ""
    if not spec:
        return list(map(fn, items))
    with made(spec) as pool:
        return list(pool.map(fn, items))
