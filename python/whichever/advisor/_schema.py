"""The verdict as JSON: schema 1, described by docs/verdict-schema.json and docs/verdict-json.md.

Guarantee: the names and meanings of schema 1 stay; fields may be added. The text is strict JSON in ASCII: a
number that is not finite is null. Items, results and errors are the user's objects and are given by repr.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from whichever._core import __version__
from whichever.advisor._units import short_repr

if TYPE_CHECKING:
    from whichever._types import Failure, VerdictData

SCHEMA = 1
"""Raised only when a name of the JSON form goes away or changes its meaning."""

MOST_SAMPLES = 100
"""Samples written out; ``samples_total`` says how many there were."""


def dumps(verdict: VerdictData) -> str:
    """Give the JSON text of a verdict."""
    return json.dumps(document(verdict), indent=2, allow_nan=False) + "\n"


def document(verdict: VerdictData) -> dict[str, Any]:
    """Give the JSON form of a verdict as plain dicts, lists, strings and numbers."""
    pairs = zip_longest(
        verdict.samples[:MOST_SAMPLES], verdict.positions[: len(verdict.samples)][:MOST_SAMPLES]
    )
    samples = [
        {"index": index, "item": short_repr(item), "result": short_repr(result)}
        for (item, result), index in pairs
    ]
    return {
        "schema": SCHEMA,
        "whichever": __version__,
        "name": verdict.name,
        "engine": verdict.engine,
        "workers": verdict.workers,
        "speedup": _plain(verdict.speedup),
        "tasks": verdict.tasks,
        "verified": verdict.verified,
        "ledger": _plain(verdict.ledger),
        "forecasts": _plain(verdict.forecasts),
        "excluded": _plain(verdict.excluded),
        "reasons": _plain(verdict.reasons),
        "advice": _plain(verdict.advice),
        "samples": samples,
        "samples_total": len(verdict.samples),
        "failures": [_failure(failure) for failure in verdict.failures],
        "timeline": _plain(verdict.timeline),
        "machine": _plain(verdict.machine),
    }


def _failure(failure: Failure) -> dict[str, Any]:
    return {
        "index": failure.index,
        "item": short_repr(failure.item),
        "error": type(failure.error).__name__,
        "repr": short_repr(failure.error),
    }


def _plain(value: Any) -> Any:
    """Turn a value of ours, or a machine fact, into what JSON has."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, AbstractSet):
        value = sorted(value, key=str)
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
        return [_plain(entry) for entry in value]
    return short_repr(value)
