"""Values to bytes and back, on both sides of a boundary.

Plain pickle where it is right; cloudpickle for what only the caller has: lambdas, closures, and all that
belongs to ``__main__`` or to a module whose top-level code is still running. Importing these in a worker
would run the caller's program a second time, which is why other pools need a guard and this one does not.
"""

from __future__ import annotations

import os
import pickle
import threading
import traceback
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

PROTOCOL = 5
_PLAIN = frozenset({int, float, str, bytes, bool, type(None)})
_registering = [threading.RLock()]
"""Guards cloudpickle's list of modules to send by value, which is global. Reentrant: what is pickled may itself use a
pool. In a list, for a forked copy of the process needs a new one: whoever holds this one is not there.
"""


def is_plain(values: Sequence[Any]) -> bool:
    """Say whether `values` can be pickled and loaded as one: nothing in them can fail alone."""
    return len(values) > 1 and all(type(value) in _PLAIN for value in values)


def dump(value: object, by_value: Iterable[str] = ()) -> bytes:
    """Pickle `value`; what belongs to ``__main__`` or a module in `by_value` goes as code, not by name."""
    try:
        blob = pickle.dumps(value, PROTOCOL)
    except Exception:  # noqa: BLE001 - whatever stops pickle, cloudpickle may know how; if not, it says why
        return _dump_code(value, by_value)
    names = ["__main__", *by_value]
    return _dump_code(value, by_value) if any(name.encode() in blob for name in names) else blob


def _dump_code(value: object, by_value: Iterable[str]) -> bytes:
    import cloudpickle  # noqa: PLC0415 - 20 ms that most workers never need

    with sent_by_value(by_value):
        blob: bytes = cloudpickle.dumps(value, PROTOCOL)
        return blob


@contextmanager
def sent_by_value(names: Iterable[str]) -> Iterator[None]:
    """Let cloudpickle take the modules `names` for ones that only this process has."""
    import sys  # noqa: PLC0415 - only where plain pickle will not do

    import cloudpickle  # noqa: PLC0415 - 20 ms that most workers never need

    with _registering[0], ExitStack() as undo:
        known = cloudpickle.list_registry_pickle_by_value()
        for name in names:
            module = sys.modules.get(name)
            if module is not None and name not in known:
                cloudpickle.register_pickle_by_value(module)
                undo.callback(cloudpickle.unregister_pickle_by_value, module)
        yield


def _renew_lock() -> None:
    _registering[0] = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


def load(blob: bytes | memoryview) -> Any:
    """Load what `dump` made."""
    return pickle.loads(blob)  # noqa: S301 - both ends of the private socket are this program


def dump_error(error: BaseException) -> bytes:
    """Pickle an exception with its traceback's text; proves that it loads again, else sends only the text."""
    trace = "".join(traceback.format_exception(error))
    kind = type(error)
    try:
        blob: bytes | None = dump(error)
        if not isinstance(load(blob or b""), kind):
            blob = None
    except Exception:  # noqa: BLE001 - the exception's own code runs here and may raise anything
        blob = None
    return pickle.dumps((blob, f"{kind.__module__}.{kind.__qualname__}", text_of(error), trace), PROTOCOL)


def read_error(blob: bytes | memoryview) -> tuple[BaseException | None, str, str, str]:
    """Return a dumped exception, or None if it does not load here; its type's name, its text, its traceback's text."""
    pickled, kind, text, trace = load(blob)
    error: object = None
    if pickled is not None:
        try:
            error = load(pickled)
        except Exception:  # noqa: BLE001 - it loaded in the worker, but need not here
            error = None
    return error if isinstance(error, BaseException) else None, kind, text, trace


def text_of(error: BaseException) -> str:
    """Return what the exception says, whatever its ``__str__`` does."""
    try:
        return str(error)
    except Exception as failure:  # noqa: BLE001 - the exception's own __str__ may raise anything
        return f"<no text: __str__ raised {type(failure).__name__}>"
