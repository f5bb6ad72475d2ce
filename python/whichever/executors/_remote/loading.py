"""Whether this process is loading what tasks need, and the imports that it makes for them ahead of time."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class _Loading:
    """True inside its ``with`` blocks. A class for its speed: each payload passes here."""

    __slots__ = ("_depth",)

    def __init__(self) -> None:
        self._depth = 0

    def __enter__(self) -> None:
        self._depth += 1

    def __exit__(self, *_: object) -> None:
        self._depth -= 1

    def __bool__(self) -> bool:
        return self._depth > 0


loading = _Loading()
"""True while this process loads a payload or a module for tasks: whoever starts workers then goes round for ever."""


def load_modules(names: Iterable[str]) -> dict[str, str]:
    """Import `names`; return those that failed, with the error's text."""
    failed = {}
    with loading:
        for name in names:
            try:
                importlib.import_module(name)
            except BaseException as error:  # noqa: BLE001 - a module may raise anything, SystemExit too
                failed[name] = f"{type(error).__name__}: {error}"
    return failed
