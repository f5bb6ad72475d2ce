"""Tell black-box tests from white-box ones: which private names does a test of CPython's read?

A test that reads ``executor._processes`` or puts another function into ``concurrent.futures.process`` tests how
the standard class is built; another class may do everything right and fail it. The test's source is read, and
that of the helpers beside it which it calls. What it reads only once it has failed (in an ``except`` block, in
an f-string) does not count.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap

PUBLIC_ALL_THE_SAME = {"os._exit"}
PRIVATE_PATH = re.compile(r"(?:\w+\.)+_[a-z]\w*", re.IGNORECASE)
"""A private name spelled out for ``unittest.mock.patch``."""


def private_names(case: type, method: str) -> set[str]:
    """Give the private names that the test `method` of the class `case` reads, its own helpers followed."""
    found: set[str] = set()
    waiting, seen = [method], set()
    while waiting:
        name = waiting.pop()
        function = inspect.getattr_static(case, name, None)
        function = getattr(function, "__func__", function)
        if name in seen or not _is_a_tests_own(function):
            continue
        seen.add(name)
        reader = _Reader(_names_of_classes(case))
        reader.visit(ast.parse(textwrap.dedent(inspect.getsource(function))))
        found |= reader.private
        waiting += reader.helpers
    return found - PUBLIC_ALL_THE_SAME


def _names_of_classes(case: type) -> set[str]:
    return {parent.__name__ for parent in case.__mro__}


def _is_a_tests_own(function: object) -> bool:
    """Say whether it is a function written in the tests, not one of unittest's."""
    return inspect.isfunction(function) and str(inspect.unwrap(function).__module__).startswith("test.")


class _Reader(ast.NodeVisitor):
    """Collects, from one function, private names of others and the helpers of its own class.

    Attributes:
        private: ``owner.name`` for each private name that is not the test's own.
        helpers: Names looked up on the test itself.
    """

    def __init__(self, own_classes: set[str]) -> None:
        self.own = own_classes | {"self", "cls"}
        self.private: set[str] = set()
        self.helpers: list[str] = []

    def visit_Attribute(self, node: ast.Attribute) -> None:
        owner = ast.unparse(node.value)
        if owner in self.own:
            self.helpers.append(node.attr)
        elif node.attr.startswith("_") and not node.attr.startswith("__"):
            self.private.add(f"{owner}.{node.attr}")
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str) and PRIVATE_PATH.fullmatch(node.value):
            self.private.add(node.value)

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        """Pass over what runs only after a failure."""

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """Pass over messages."""
