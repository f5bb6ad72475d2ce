"""lxml: parse a document and query it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from lxml import etree

from workloads import data

if TYPE_CHECKING:
    from workloads.registry import Prepared


def count_dear_orders(document: bytes) -> int:
    return len(etree.fromstring(document).xpath("//order[price > 250]"))


@contextmanager
def prepare_lxml_xpath() -> Prepared:
    yield count_dear_orders, [data.xml_text(8_000, seed).encode() for seed in range(10)] * 8
