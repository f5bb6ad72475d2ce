"""Text that plain Python programs chew every day: JSON, CSV, XML, expressions, source code."""

from __future__ import annotations

import ast
import csv
import difflib
import json
import re
import textwrap
import xml.etree.ElementTree as ET
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING

from workloads import data

if TYPE_CHECKING:
    from workloads.registry import Prepared

_CALL = re.compile(r"(?P<name>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)\((?P<args>[^()]*)\)")


def json_round_trip(document: str) -> str:
    orders = json.loads(document)
    return json.dumps([order for order in orders if order["price"] > 100])


def count_calls(source: str) -> int:
    return sum(1 for match in _CALL.finditer(source) if match["args"])


def count_nodes(source: str) -> int:
    return sum(1 for _ in ast.walk(ast.parse(source)))


def city_totals(document: str) -> dict[str, float]:
    totals: dict[str, float] = {}
    for row in csv.DictReader(document.splitlines()):
        totals[row["city"]] = totals.get(row["city"], 0.0) + float(row["price"]) * int(row["count"])
    return totals


def sum_prices(document: str) -> float:
    return sum(float(price.text or 0) for price in ET.fromstring(document).iter("price"))


def likeness(pair: tuple[list[str], list[str]]) -> float:
    return difflib.SequenceMatcher(None, *pair, autojunk=False).ratio()


def wrap(source: str) -> str:
    return "\n".join(textwrap.fill(paragraph, 60) for paragraph in source.split("\n\n"))


@contextmanager
def prepare_json_round_trip() -> Prepared:
    yield json_round_trip, [json.dumps(data.records(5_000, seed)) for seed in range(10)] * 6


@contextmanager
def prepare_re_calls() -> Prepared:
    yield count_calls, data.source_texts(320)


@contextmanager
def prepare_ast_nodes() -> Prepared:
    yield count_nodes, data.source_texts(120, 30_000, 50_000)


@contextmanager
def prepare_csv_totals() -> Prepared:
    yield city_totals, [data.csv_text(6_000, seed) for seed in range(10)] * 8


@contextmanager
def prepare_xml_prices() -> Prepared:
    yield sum_prices, [data.xml_text(6_000, seed) for seed in range(10)] * 8


@contextmanager
def prepare_difflib_likeness() -> Prepared:
    texts = [source.splitlines()[:1_000] for source in data.source_texts(60)]
    yield likeness, [(text, text[::2] + other[::3]) for text, other in pairwise(texts)]


@contextmanager
def prepare_textwrap_fill() -> Prepared:
    yield wrap, data.source_texts(240)
