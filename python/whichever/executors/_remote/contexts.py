"""Context variables, from the code that submits a task to the task.

Those travel that an attribute of a module names and whose value pickles; the others stay behind.
"""

from __future__ import annotations

import pickle
from contextvars import Context, ContextVar, copy_context
from typing import Any

from . import cargo
from .payload import PROTOCOL, load
from .variables import name_of, reduce_variable

_OWN = __package__.partition(".")[0]
"""Our own package: its variables stay behind, or they would have every worker import it."""
_PLAIN = frozenset({int, float, str, bytes, bool, type(None)})


def dump_context(by_value: tuple[str, ...] = ()) -> bytes:
    """Pickle the current context's variables; empty when there is none to send."""
    context = copy_context()
    if not context:
        return b""
    entries = []
    for variable, value in context.items():
        name = name_of(variable)
        if name is None or name[0].partition(".")[0] == _OWN:
            continue
        try:
            find, arguments = reduce_variable(variable, by_value)
            entries.append((find, arguments, type(value) in _PLAIN, cargo.dump_whole(value, by_value)))
        except Exception:  # noqa: BLE001, S112 - a value of any kind that does not pickle stays behind
            continue
    return pickle.dumps(entries, PROTOCOL) if entries else b""


class Arrivals:
    """Makes the contexts in which a worker's tasks run.

    Args:
        base: What every task finds in its context, besides the caller's variables.
    """

    def __init__(self, base: Context | None = None) -> None:
        self._base = Context() if base is None else base
        self._blob = b""
        self._context: Context | None = None

    def context(self, blob: bytes) -> Context:
        """Return a context for one task, with what `dump_context` found at the caller."""
        if not blob:
            return self._base.copy()
        if self._context is not None and blob == self._blob:
            return self._context.copy()
        context = self._base.copy()
        reusable = context.run(_set, blob)
        self._blob, self._context = blob, context if reusable else None
        return context.copy() if reusable else context


def _set(blob: bytes) -> bool:
    """Set the variables; say whether all their values are ones that no task can change."""
    reusable = True
    for find, arguments, plain, value in pickle.loads(blob):  # noqa: S301 - our own caller made it
        try:
            variable: ContextVar[Any] = find(*arguments)
            variable.set(load(value))
        except Exception:  # noqa: BLE001, S112 - its module or its value does not load here: the task goes without
            continue
        reusable = reusable and plain
    return reusable
