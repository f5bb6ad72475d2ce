"""jinja2: render a page of orders."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from jinja2 import Environment

from workloads import data

if TYPE_CHECKING:
    from workloads.registry import Prepared

_PAGE = Environment(autoescape=True).from_string(
    "<table>{% for order in orders %}<tr><td>{{ order.id }}<td>{{ order.city | upper }}"
    "<td>{{ '%.2f' | format(order.price) }}<td>{{ order.tags | join(', ') }}</tr>{% endfor %}</table>"
)


def render(orders: list[dict[str, object]]) -> str:
    return _PAGE.render(orders=orders)


@contextmanager
def prepare_jinja_render() -> Prepared:
    yield render, [data.records(1_500, seed) for seed in range(10)] * 8
