"""Items that are no scalars, as bytes and back: pickled, with large buffers beside the pickle.

The other process may or may not have the same ``__main__``: a child that `multiprocessing` has started has it, a
worker of a `ProcessPool` has not. So what the pickle takes from there by name is sent a second time as code, for those
who do not find it.
"""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

_PROTOCOL = 5
_BUFFER_BYTES = 64 * 1024
"""Smaller buffers go inside the pickle."""


class _Twice:
    """An item in two pickles; as itself it is never sent, only as what it reduces to."""

    def __init__(self, by_name: bytes, as_code: bytes) -> None:
        self._pickles = by_name, as_code

    def __reduce__(self) -> tuple[Any, ...]:
        return _load_either, self._pickles


def pack(item: object) -> tuple[bytes, list[memoryview]]:
    """Pickle `item`; return the pickle and the buffers that stay beside it.

    Raises:
        Exception: Whatever the item raises when pickled.
    """
    views: list[memoryview] = []

    def keeps(buffer: pickle.PickleBuffer) -> bool:
        """Take a buffer that an object offers; say True for one that is to go into the pickle."""
        view = buffer.raw()
        if view.nbytes < _BUFFER_BYTES:
            return True
        views.append(view)
        return False

    try:
        blob = pickle.dumps(item, _PROTOCOL, buffer_callback=keeps)
    except Exception as refusal:  # noqa: BLE001 - whatever stops pickle, cloudpickle may know how
        return _as_code(item, refusal), []
    if b"__main__" in blob and (code := _also_as_code(item)):
        return pickle.dumps(_Twice(pickle.dumps(item, _PROTOCOL), code), _PROTOCOL), []
    return blob, views


def unpack(blob: bytes, buffers: Sequence[Any]) -> Any:
    """Load what `pack` made; whatever the item raises when loaded goes on to the caller."""
    return pickle.loads(blob, buffers=buffers)  # noqa: S301 - all who have the queue trust each other


def _load_either(by_name: bytes, as_code: bytes) -> Any:
    try:
        return pickle.loads(by_name)  # noqa: S301
    except (AttributeError, ImportError):
        return pickle.loads(as_code)  # noqa: S301


def _as_code(item: object, refusal: Exception) -> bytes:
    import cloudpickle  # noqa: PLC0415 - 20 ms that most programs never need

    try:
        blob: bytes = cloudpickle.dumps(item, _PROTOCOL)
    except Exception:  # noqa: BLE001 - plain pickle's reason is the one that users know
        raise refusal from None
    return blob


def _also_as_code(item: object) -> bytes | None:
    """Return the item as code; None where that cannot be."""
    try:
        return _as_code(item, ValueError())
    except Exception:  # noqa: BLE001 - it has gone by name already
        return None
