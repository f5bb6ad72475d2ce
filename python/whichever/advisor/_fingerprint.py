"""A fingerprint of a value, to see whether a call changed it; cheap, bounded, and it never raises.

The value is pickled (protocol 5) into a digest, not into memory. Two things make this fit for comparing one
object with itself: pickling without a memo, so that it does not matter which equal strings are one object; and
stand-ins by identity for what does not pickle (locks, lambdas, modules). Streams that differ are compared once
more by structure, where the order of sets and dicts does not count, as long as they are short enough to be kept.
A value too large for the bounds is judged by its beginning and by a sample of its parts, and says so. Time is this
thread's CPU time: a busy machine must not make a small value look large.
"""

from __future__ import annotations

import contextlib
import copyreg
import functools
import pickle
import time
import types
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from whichever.advisor._kinds import mro_of, resource_kind
from whichever.advisor._structure import same_structure

if TYPE_CHECKING:
    from collections.abc import Callable

_STREAM_BYTES = 32 << 20
_KEPT_BYTES = 256 << 10  # longest stream kept for a second look
_BUFFER_BYTES = 16 << 20  # longest array read as a whole
_BLOCKS, _BLOCK_BYTES = 128, 64 << 10  # of a longer one, this many blocks
_SHALLOW = 256
_BY_IDENTITY = (
    types.FunctionType, types.BuiltinFunctionType, types.MethodType, types.ModuleType, type,
    type(functools.lru_cache(maxsize=1)(len)),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What is known of a value at one moment.

    Attributes:
        digest: Of the pickled stream, as far as it was read.
        length: Bytes of the stream that were read.
        complete: Whether all of the value was read.
        stream: The stream itself, when it is short.
        buffers: A digest of each array, in the stream's order.
        shallow: Of a value that was not read completely, a sample of its parts.
    """

    digest: bytes
    length: int
    complete: bool
    stream: bytes | None = field(default=None, repr=False)
    buffers: tuple[bytes, ...] = field(default=(), repr=False)
    shallow: tuple[Any, ...] = field(default=(), repr=False)


def take(value: Any, *, seconds: float = 0.05, like: Fingerprint | None = None) -> Fingerprint:
    """Take the fingerprint of `value`.

    Args:
        value: Anything.
        seconds: CPU time after which it is enough; what was read until then counts.
        like: An earlier fingerprint to compare with; reads exactly as far as that one did.
    """
    if like is None:
        sink = _Sink(_STREAM_BYTES, seconds)
    else:  # the second look may take longer than the first
        sink = _Sink(_STREAM_BYTES if like.complete else like.length, 4 * seconds)
    complete = _pickle_into(sink, value, fast=True)
    if complete is None:  # refers to itself
        sink = sink.afresh()
        complete = _pickle_into(sink, value, fast=False)
    whole = complete is True and not sink.sampled
    return Fingerprint(
        digest=sink.digest(),
        length=sink.length,
        complete=whole,
        stream=sink.kept(),
        buffers=tuple(sink.buffers),
        shallow=() if whole else _shallow(value),
    )


def differs(before: Fingerprint, after: Fingerprint) -> bool:
    """Whether the value changed between two fingerprints, as far as they tell."""
    if not before.complete and _shallow_differs(before.shallow, after.shallow):
        return True
    if before.digest == after.digest:
        return False
    if not after.complete and after.length < before.length:
        return False  # the second look was cut short: nothing can be told
    if before.stream is not None and after.stream is not None:
        return not same_structure((before.stream, before.buffers), (after.stream, after.buffers))
    return True


class _EnoughError(Exception):
    """The sink has had enough."""


class _Sink:
    """A file that digests what is written to it, up to so many bytes and seconds."""

    def __init__(self, limit: int, seconds: float) -> None:
        self._limit, self._seconds = limit, seconds
        self._deadline = time.thread_time() + seconds
        self._hash = blake2b(digest_size=16)
        self._pieces: list[bytes] = []
        self.length = 0
        self.buffers: list[bytes] = []
        self.sampled = False

    def afresh(self) -> _Sink:
        return _Sink(self._limit, self._seconds)

    def write(self, data: Any) -> int:
        view = memoryview(data)
        room = self._limit - self.length
        self._take(view[:room])
        if len(view) > room or time.thread_time() > self._deadline:
            raise _EnoughError
        return len(view)

    def buffer(self, buffer: pickle.PickleBuffer) -> bool:
        """Digest an array's memory without copying it; of a long one, evenly spaced blocks."""
        digest = blake2b(digest_size=16)
        with buffer.raw() as view:
            digest.update(view.nbytes.to_bytes(8, "little"))
            for start, end in self._ranges(view.nbytes):
                digest.update(view[start:end])
        self.buffers.append(digest.digest())
        self._hash.update(self.buffers[-1])
        return False

    def _ranges(self, length: int) -> list[tuple[int, int]]:
        if length <= _BUFFER_BYTES:
            return [(0, length)]
        self.sampled = True
        starts = [(length - _BLOCK_BYTES) * block // (_BLOCKS - 1) for block in range(_BLOCKS)]
        return [(start, start + _BLOCK_BYTES) for start in starts]

    def _take(self, view: memoryview | bytes) -> None:
        self._hash.update(view)
        if self.length <= _KEPT_BYTES:
            self._pieces.append(bytes(view[: _KEPT_BYTES + 1]))
        self.length += len(view)

    def digest(self) -> bytes:
        return self._hash.digest()

    def kept(self) -> bytes | None:
        return None if self.length > _KEPT_BYTES else b"".join(self._pieces)


def _pickle_into(sink: _Sink, value: Any, *, fast: bool) -> bool | None:
    """Pickle as far as bounds and value allow: True when to the end, None when it runs in a circle."""
    pickler = _Pickler(sink, 5, buffer_callback=sink.buffer)
    pickler.fast = fast
    try:
        pickler.dump(value)
    except (ValueError, RecursionError):  # what pickling without a memo says of a circle
        return None if fast else False
    except Exception:  # noqa: BLE001 -- whatever a user's pickling raises, the fingerprint is of what came before
        return False
    return True


class _Pickler(pickle.Pickler):
    """Pickles anything: what does not pickle is represented by its type and identity."""

    def reducer_override(self, value: Any) -> Any:
        kind = type(value)
        if value is _token:
            return NotImplemented
        if issubclass(kind, _BY_IDENTITY) or resource_kind(value) is not None:
            return _token, ("class" if issubclass(kind, type) else kind.__qualname__, id(value))
        try:
            reduced = _reduce(value)
        except Exception:  # noqa: BLE001 -- a user's own __reduce__ may raise anything
            return _token, (kind.__qualname__, id(value))
        return _without_cached(kind, reduced)


def _token(kind: str, identity: int) -> tuple[str, int]:
    """Stand for a value by its identity; only ever pickled, never loaded."""
    return kind, identity


def _reduce(value: Any) -> Any:
    registered: Callable[[Any], Any] | None = copyreg.dispatch_table.get(type(value))
    return registered(value) if registered is not None else value.__reduce_ex__(5)


def _without_cached(kind: type, reduced: Any) -> Any:
    """Leave out of an instance's state what a cached_property put there: it says nothing new."""
    if not isinstance(reduced, tuple) or len(reduced) < 3 or not isinstance(reduced[2], dict):  # noqa: PLR2004
        return reduced
    state = reduced[2]
    cached = {n for n in state if isinstance(vars(kind).get(n), functools.cached_property)}
    for base in mro_of(kind)[1:]:
        cached |= {n for n in state if isinstance(vars(base).get(n), functools.cached_property)}
    if not cached:
        return reduced
    return (*reduced[:2], {n: v for n, v in state.items() if n not in cached} or None, *reduced[3:])


def _shallow(value: Any) -> tuple[Any, ...]:
    """Sample a large container: its type, length and evenly spaced parts, the last among them."""
    kind = type(value)
    try:
        if issubclass(kind, (list, tuple)):
            step = max(1, len(value) // _SHALLOW)
            return (kind, len(value), *value[::step], *value[-1:])
        if issubclass(kind, (dict, set, frozenset)):
            return kind, len(value), *_ends(value)
        return (kind, len(value)) if hasattr(kind, "__len__") else (kind,)
    except Exception:  # noqa: BLE001 -- a container of the user's may raise anything
        return (kind,)


def _ends(value: Any) -> list[Any]:
    found: list[Any] = []
    with contextlib.suppress(RuntimeError):  # changed while it was read
        for number, key in enumerate(value):
            if number >= _SHALLOW:
                break
            found += [key, value[key]] if isinstance(value, dict) else [key]
    if isinstance(value, dict) and value:
        found.append(value[next(reversed(value))])
    return found


def _shallow_differs(before: tuple[Any, ...], after: tuple[Any, ...]) -> bool:
    if len(before) != len(after):
        return bool(after)
    return any(a is not b and not _equal_atoms(a, b) for a, b in zip(before, after, strict=True))


def _equal_atoms(one: Any, other: Any) -> bool:
    return type(one) is type(other) and type(one) in (int, float, str, bytes, bool, complex) and one == other
