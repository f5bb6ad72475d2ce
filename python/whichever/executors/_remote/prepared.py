"""What an initializer leaves in its global variables, for the tasks that come after it.

A function that goes as code gets a namespace of its own in the worker, filled with the caller's values: tasks do not
see each other's assignments. An initializer's they are to see; it is there for that. So the worker notes which global
variables the initializer has set or changed, and gives them to each function of the same module that arrives
later, unless the caller has given the variable another value since.
"""

from __future__ import annotations

import pickle
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import FunctionType

_PROTOCOL = 5
_MAX_BYTES = 64 * 1024  # of a value that is compared; a larger one counts as the caller's old one
_MAX_ITEMS = 1024  # likewise, and not pickled to find out
_CONTAINERS = (list, tuple, dict, set, frozenset)
_MAINS = ("__main__", "__mp_main__")
_ABSENT, _UNKNOWN = object(), object()

_loaded: dict[str, dict[str, Any]] | None = None
"""While an initializer is loaded: the namespaces of its functions."""
_prepared: dict[str, dict[str, tuple[object, Any]]] = {}
"""By namespace and name: what the caller's value looked like, and the initializer's value."""


def mark(fn: FunctionType, reduced: Any) -> Any:
    """Add the name of its namespace to what cloudpickle makes of a function; leave alone what goes by name."""
    if not isinstance(reduced, tuple) or len(reduced) != 6:  # noqa: PLR2004 - the longest form, with a state setter
        return reduced
    make, arguments, state, items, pairs, set_state = reduced
    return make, arguments, (_namespace_name(fn.__globals__), set_state, state), items, pairs, restore


def restore(fn: FunctionType, marked: tuple[str, Callable[..., None], Any]) -> None:
    """Give a function its state in the worker, and what the initializer has prepared for it."""
    namespace, set_state, state = marked
    arriving = frozenset(state[1]["__globals__"])
    set_state(fn, state)
    if _loaded is not None:
        _loaded.setdefault(namespace, fn.__globals__)
    elif namespace in _prepared:
        _hand_over(_prepared[namespace], arriving, fn.__globals__)


@contextmanager
def preparing(initializer: object = None) -> Iterator[Callable[[], None]]:
    """Note what is set in global variables from the call of the given function, after loading, to the end of the block.

    Args:
        initializer: One that did not come as code, but is a function of this process's own ``__main__``.
    """
    global _loaded  # noqa: PLW0603 - a fact of the whole process
    own: dict[str, Any] = getattr(initializer, "__globals__", {})
    _loaded = {"__main__": own} if own.get("__name__") in _MAINS else {}
    before: list[tuple[str, dict[str, Any], dict[str, tuple[Any, object]]]] = []

    def begin() -> None:
        global _loaded
        loaded, _loaded = _loaded or {}, None
        for name, namespace in loaded.items():
            seen = {key: (value, _look_of(value)) for key, value in namespace.items() if key[:2] != "__"}
            before.append((name, namespace, seen))

    try:
        yield begin
    finally:
        _loaded = None
    for name, namespace, seen in before:
        changed = dict(_changes(namespace, seen))
        if changed:
            _prepared[name] = changed


def _namespace_name(namespace: dict[str, Any]) -> str:
    name = str(namespace.get("__name__"))
    module = sys.modules.get(name)
    return name if module is not None and vars(module) is namespace else f"{name} {id(namespace)}"


def _changes(
    namespace: dict[str, Any], seen: dict[str, tuple[Any, object]]
) -> Iterable[tuple[str, tuple[object, Any]]]:
    for name, value in namespace.items():
        if name[:2] == "__":
            continue
        old, look = seen.get(name, (_ABSENT, _ABSENT))
        if value is not old or (look is not _UNKNOWN and _look_of(value) != look):
            yield name, (look, value)


def _hand_over(
    prepared: dict[str, tuple[object, Any]], arriving: frozenset[str], namespace: dict[str, Any]
) -> None:
    for name, (look, value) in prepared.items():
        if name not in arriving:
            namespace.setdefault(name, value)
            continue
        now = _look_of(namespace[name])
        if now == look or _UNKNOWN in (now, look):
            namespace[name] = value


def _look_of(value: object) -> object:
    """Return what tells one small value from another; _UNKNOWN for code, and for what is large or does not pickle."""
    if isinstance(value, _CONTAINERS) and len(value) > _MAX_ITEMS:
        return _UNKNOWN
    buffers: list[pickle.PickleBuffer] = []
    try:
        blob = pickle.dumps(value, _PROTOCOL, buffer_callback=buffers.append)
    except Exception:  # noqa: BLE001 - a value of any kind
        return _UNKNOWN
    if len(blob) + sum(buffer.raw().nbytes for buffer in buffers) > _MAX_BYTES:
        return _UNKNOWN
    return blob, tuple(bytes(buffer.raw()) for buffer in buffers)
