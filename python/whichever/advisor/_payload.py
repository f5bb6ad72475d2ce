"""What arguments and results weigh and cost on their way into another process and back.

Pickles as the processes engine does: protocol 5, cloudpickle where that refuses, and large buffers (arrays, bytes)
apart. These are counted and no more: what they cost is known per byte (see `_calibrate`). Small values are measured by
pickling and loading them for real, tiny ones repeatedly. Large ones never exist twice: a long list or dict is measured
on its beginning and scaled up; anything else (a long string) is pickled into a sink that counts, copies some of it a
few MiB at a time, and forgets it.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import mmap
import pickle
import statistics
import sys
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import cloudpickle

from whichever.executors._remote.cargo import OUT_OF_BAND_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_VALUES = 3  # measured of the arguments, and of the results
_SECONDS = 0.1  # for each of the two; one value is always measured
_WHOLE_BYTES = 8 << 20  # a longer pickle is not kept in memory
_PART_BYTES = 4 << 20
_FIRST_PART = 1024  # elements; doubled until the part is long enough to judge by
_COPIED_BYTES = 64 << 20  # enough to know what a byte costs
_PIECE_BYTES = 4 << 20  # copied at once
_LONG_BYTES = 256 << 10  # what is written at once and is shorter costs more to make than to copy
_TINY_SECONDS = 0.0005
_SCALARS = frozenset({int, float, bool, type(None), str})
_SCALAR_SECONDS = 5e-8
_SCALAR_BYTES = 1024  # of text; what is longer is copied
_SEARCHED_ITEMS = 1024  # a longer list's are not looked at for large bytes
_REPEATS = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """What one task sends and gets, on average.

    Of a value that takes too long to pickle, size and seconds are what was counted until then: at least so much.

    Attributes:
        in_bytes: Pickled size of the argument; None when it does not pickle.
        in_copied: Of these, large bytes objects: a worker copies them once more, arrays it does not.
        out_bytes: Pickled size of the result; None when it does not pickle.
        pickle_in: Seconds to pickle the argument, large buffers apart; so the others.
        unpickle_in: Seconds to load it again.
        pickle_out: Seconds to pickle the result.
        unpickle_out: Seconds to load it again.
        error: Why something does not pickle or load, in words; None when all does.
    """

    in_bytes: int | None = None
    in_copied: int = 0
    out_bytes: int | None = None
    pickle_in: float = 0.0
    unpickle_in: float = 0.0
    pickle_out: float = 0.0
    unpickle_out: float = 0.0
    error: str | None = None


class _Cost(NamedTuple):
    size: int
    pickle: float
    unpickle: float
    copied: int = 0  # of the size: large bytes objects


def measure_payload(fn: Callable[..., Any], items: Sequence[Any], results: Sequence[Any]) -> Payload:
    """Measure the payload of ``fn(item)`` on a few of `items` and of the `results` they gave.

    Never raises on account of the values: what does not pickle is named in `Payload.error`.
    """
    payload, errors = Payload(), []
    try:
        _try_function(fn)
    except Exception as error:  # noqa: BLE001 -- a user's pickling may raise anything
        errors.append(_words("the function", error))
    try:
        cost = _mean(items, kept=False)
        payload = replace(
            payload,
            in_bytes=cost.size,
            in_copied=cost.copied,
            pickle_in=cost.pickle,
            unpickle_in=cost.unpickle,
        )
    except Exception as error:  # noqa: BLE001 -- as above
        errors.append(_words("an argument", error))
    try:
        cost = _mean(results, kept=True)
        payload = replace(payload, out_bytes=cost.size, pickle_out=cost.pickle, unpickle_out=cost.unpickle)
    except Exception as error:  # noqa: BLE001 -- as above
        errors.append(_words("a result", error))
    return replace(payload, error=errors[0] if errors else None)


class _TooLongError(Exception):
    """The pickle is longer than the sink is to keep, or takes too long."""


class _Measure:
    """A file that counts; it keeps what is written up to `keep` bytes.

    Of what it does not keep, long pieces are copied into memory that the kernel has yet to hand out, as a pickle
    being built would be: that is the slow part. After `_COPIED_BYTES` the price is known, and copying ends.
    """

    def __init__(self, *, keep: int = 0, stop: int | None = None, seconds: float | None = None) -> None:
        self._keep, self._stop = keep, stop
        self._deadline = None if seconds is None else time.thread_time() + seconds
        self._kept = io.BytesIO()
        self._copied, self._copying, self._skipped = 0, 0.0, 0
        self.size = 0
        self.buffers: list[memoryview] = []

    def take_apart(self, buffer: pickle.PickleBuffer) -> bool:
        """Count a large buffer; True, which sends it into the pickle, for a small one."""
        view = buffer.raw()
        if view.nbytes < OUT_OF_BAND_BYTES:
            return True
        self.buffers.append(view)
        return False

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        self.size += view.nbytes
        late = self._deadline is not None and time.thread_time() - self._copying > self._deadline
        if late or (self._stop is not None and self.size > self._stop):
            raise _TooLongError
        if self.size <= self._keep:
            self._kept.write(view)
        elif view.nbytes >= _LONG_BYTES:
            self.copy(view)
        return view.nbytes

    def copy(self, view: memoryview) -> None:
        """Copy into fresh memory, up to `_COPIED_BYTES` in all, and take the time."""
        room = max(0, _COPIED_BYTES - self._copied)
        started = time.thread_time()
        for start in range(0, min(room, view.nbytes), _PIECE_BYTES):
            piece = view[start : min(room, start + _PIECE_BYTES)]
            with mmap.mmap(-1, piece.nbytes) as pages:
                pages[:] = piece
        self._copying += time.thread_time() - started
        self._copied += min(room, view.nbytes)
        self._skipped += max(0, view.nbytes - room)

    def whole_size(self) -> int:
        """Give the size of pickle and buffers."""
        return self.size + sum(view.nbytes for view in self.buffers)

    def copy_seconds(self) -> float:
        """Give the time that all copies take, those that were not made too."""
        return self._copying + self.skipped_seconds()

    def skipped_seconds(self) -> float:
        """Give the time that copying what was not copied would have taken."""
        return self._skipped * self._copying / self._copied if self._copied else 0.0

    def kept(self) -> bytes:
        return self._kept.getvalue()


def _mean(values: Sequence[Any], *, kept: bool) -> _Cost:
    costs: list[_Cost] = []
    started = time.monotonic()
    for value in values[:: max(1, len(values) // _VALUES)][:_VALUES]:
        if costs and time.monotonic() - started > _SECONDS:
            break
        costs.append(_cost(value, kept=kept))
    if not costs:
        return _Cost(0, 0.0, 0.0)
    return _Cost(
        round(statistics.fmean(cost.size for cost in costs)),
        statistics.fmean(cost.pickle for cost in costs),
        statistics.fmean(cost.unpickle for cost in costs),
        round(statistics.fmean(cost.copied for cost in costs)),
    )


def _cost(value: Any, *, kept: bool) -> _Cost:
    value, apart = _without_large(value)
    cost = _cost_of_rest(value)
    if type(value) in _SCALARS and cost.size <= _SCALAR_BYTES:
        # Not pickled at all: see the codec of the process pool.
        cost = cost._replace(
            pickle=min(cost.pickle, _SCALAR_SECONDS), unpickle=min(cost.unpickle, _SCALAR_SECONDS)
        )
    copies = _Measure()
    # Arrays are views of what arrives; bytes are copied out of it, into fresh memory if those before are kept.
    for part in apart if kept else ():
        copies.copy(memoryview(part))
    copied = sum(map(len, apart))
    return cost._replace(
        size=cost.size + copied, unpickle=cost.unpickle + copies.copy_seconds(), copied=copied
    )


def _without_large(value: Any) -> tuple[Any, list[Any]]:
    """Take large bytes out, of a list, tuple or dict too; return the rest and them."""
    if _is_large(value):
        return b"", [value]
    if type(value) not in (list, tuple, dict) or len(value) > _SEARCHED_ITEMS:
        return value, []
    apart = [part for part in (value.values() if type(value) is dict else value) if _is_large(part)]
    if not apart:
        return value, []
    if type(value) is dict:
        return {key: b"" if _is_large(part) else part for key, part in value.items()}, apart
    return type(value)(b"" if _is_large(part) else part for part in value), apart


def _is_large(value: Any) -> bool:
    return type(value) in (bytes, bytearray) and len(value) >= OUT_OF_BAND_BYTES


def _cost_of_rest(value: Any) -> _Cost:
    pickler = _pickler_for(value)
    try:
        return _whole(value, pickler, 2 * _SECONDS)
    except _TooLongError:
        part = _long_part(value, pickler)
    if part is not None:
        return part
    return _counted(value, pickler)


def _pickler_for(value: Any) -> Any:
    """Choose plain pickle, or cloudpickle where plain pickle refuses."""
    try:
        _dump(value, pickle.Pickler, _Measure(stop=_WHOLE_BYTES, seconds=_SECONDS))
    except _TooLongError:
        return pickle.Pickler
    except Exception:  # noqa: BLE001 -- whatever it refuses with, cloudpickle has the last word
        return cloudpickle.Pickler
    return pickle.Pickler


def _dump(value: Any, pickler: Any, sink: _Measure) -> float:
    started = time.perf_counter()
    pickler(sink, 5, buffer_callback=sink.take_apart).dump(value)
    return time.perf_counter() - started


def _whole(value: Any, pickler: Any, seconds: float | None) -> _Cost:
    sink = _Measure(keep=_WHOLE_BYTES, stop=_WHOLE_BYTES, seconds=seconds)
    pickle_seconds = _dump(value, pickler, sink)
    data = sink.kept()
    unpickle_seconds = _load(data, sink.buffers)
    if pickle_seconds + unpickle_seconds < _TINY_SECONDS:
        pickle_seconds = statistics.median(_dump_bytes(value, pickler) for _ in range(_REPEATS))
        unpickle_seconds = statistics.median(_load(data, sink.buffers) for _ in range(_REPEATS))
    return _Cost(sink.whole_size(), pickle_seconds, unpickle_seconds)


def _dump_bytes(value: Any, pickler: Any) -> float:
    dumps = pickle.dumps if pickler is pickle.Pickler else cloudpickle.dumps
    take_apart = _Measure().take_apart
    started = time.perf_counter()
    dumps(value, 5, buffer_callback=take_apart)
    return time.perf_counter() - started


def _load(data: bytes, buffers: Sequence[memoryview]) -> float:
    started = time.perf_counter()
    loaded = pickle.loads(data, buffers=buffers)  # noqa: S301 -- pickled a moment ago, in this process
    seconds = time.perf_counter() - started
    del loaded
    return seconds


def _long_part(value: Any, pickler: Any) -> _Cost | None:
    """Measure the beginning of a long container and scale it up; None where there is no such thing."""
    if not _can_be_cut(value):
        return None
    length, count = len(value), min(_FIRST_PART, len(value) // 2)
    while count > 0:
        try:
            cost = _whole(_beginning(value, count), pickler, None)
        except _TooLongError:
            return None  # few parts, each of them huge
        if cost.size >= _PART_BYTES // 2 or count == length // 2:
            factor = length / count
            return _Cost(round(cost.size * factor), cost.pickle * factor, cost.unpickle * factor)
        count = min(length // 2, count * max(2, _PART_BYTES // (cost.size + 1)))
    return None


def _can_be_cut(value: Any) -> bool:
    if type(value) in (list, tuple, dict, set, frozenset):
        return True
    numpy = sys.modules.get("numpy")
    if numpy is None or type(value) is not numpy.ndarray or value.ndim == 0:
        return False
    return not (value.flags.c_contiguous or value.flags.f_contiguous)  # these pickle without a copy


def _beginning(value: Any, count: int) -> Any:
    if isinstance(value, dict):
        return dict(itertools.islice(value.items(), count))
    if isinstance(value, (set, frozenset)):
        return set(itertools.islice(value, count))
    return value[:count]


def _counted(value: Any, pickler: Any) -> _Cost:
    """Count a huge pickle without keeping it; loading is taken to last as long as pickling."""
    sink = _Measure(seconds=2 * _SECONDS)
    started = time.perf_counter()
    with contextlib.suppress(_TooLongError):  # what was counted until then is a lower bound
        _dump(value, pickler, sink)
    seconds = time.perf_counter() - started + sink.skipped_seconds()
    return _Cost(sink.whole_size(), seconds, seconds)


def _try_function(fn: Any) -> None:
    sink = _Measure(seconds=_SECONDS)
    with contextlib.suppress(_TooLongError):  # it pickled well until then
        # by cloudpickle: plain pickle would take a function of __main__ by a name that workers do not know
        _dump(fn, cloudpickle.Pickler, sink)


def _words(what: str, error: Exception) -> str:
    return f"{what} does not pickle and load again ({type(error).__name__}: {error})"[:300]
