"""What an object carries along when it crosses into another process: the parts of containers and user objects.

Bounded in depth and number; takes parts from ``__dict__`` and slots, never through a property.
"""

from __future__ import annotations

import collections
import functools
import itertools
from typing import TYPE_CHECKING, Any

from whichever.advisor._kinds import is_user_class, mro_of, resource_kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_DEPTH = 4
_PARTS_EACH = 200  # of one container
_PARTS_ALL = 2000
_SEQUENCES = (list, tuple, set, frozenset, collections.deque)


def parts(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Yield (name, part) for what `value` holds, the nearest first: ``("self.lock", <lock>)``."""
    pending: collections.deque[tuple[str, Any, int]] = collections.deque([(name, value, 0)])
    seen = {id(value)}
    while pending and len(seen) < _PARTS_ALL:
        path, whole, depth = pending.popleft()
        for part_path, part in itertools.islice(_direct_parts(whole, path), _PARTS_EACH):
            if id(part) in seen:
                continue
            seen.add(id(part))
            yield part_path, part
            if depth + 1 < _DEPTH:
                pending.append((part_path, part, depth + 1))


def resources(value: Any, name: str) -> Iterator[tuple[str, str]]:
    """Yield (kind, name) of `value` itself or of the parts of it that belong to this process alone."""
    kind = resource_kind(value)
    if kind is not None:
        yield kind, name
        return
    for path, part in parts(value, name):
        kind = resource_kind(part)
        if kind is not None:
            yield kind, path


def _direct_parts(value: Any, path: str) -> Iterable[tuple[str, Any]]:
    kind = type(value)
    if issubclass(kind, dict):
        # list(): another thread may be writing it
        return ((f"{path}[{_short(key)}]", part) for key, part in list(dict.items(value)))
    if issubclass(kind, _SEQUENCES):
        return ((f"{path}[{index}]", part) for index, part in enumerate(itertools.islice(value, _PARTS_EACH)))
    if kind is functools.partial:
        return _partial_parts(value, path)
    if is_user_class(kind) and not _says_what_crosses(kind):
        return ((f"{path}.{key}", part) for key, part in attributes(value).items())
    return ()


def _partial_parts(value: functools.partial[Any], path: str) -> Iterator[tuple[str, Any]]:
    yield f"{path}.func", value.func
    for index, part in enumerate(value.args):
        yield f"{path}.args[{index}]", part
    for key, part in value.keywords.items():
        yield f"{path}.keywords[{key!r}]", part


def attributes(value: Any) -> dict[str, Any]:
    """Give the attributes that an instance itself stores, in ``__dict__`` and in slots."""
    try:
        found = dict(object.__getattribute__(value, "__dict__"))
    except Exception:  # noqa: BLE001 -- there is none, or a class of the user's computes it and fails
        found = {}
    for base in mro_of(type(value)):
        slots = vars(base).get("__slots__", ())
        for slot in (slots,) if isinstance(slots, str) else tuple(slots):
            descriptor = vars(base).get(slot)
            if type(descriptor).__name__ != "member_descriptor":
                continue
            try:
                found[slot] = descriptor.__get__(value)  # type: ignore[union-attr]
            except AttributeError:  # not set
                continue
    return found


def _says_what_crosses(kind: type) -> bool:
    """Whether the class pickles its instances in its own way, so that its attributes say nothing."""
    own = ("__getstate__", "__reduce__", "__reduce_ex__", "__getnewargs__", "__getnewargs_ex__")
    return any(base is not object and name in vars(base) for base in mro_of(kind) for name in own)


def _short(key: Any) -> str:
    return repr(key)[:40] if type(key) in (str, int, bool, tuple) else type(key).__name__
