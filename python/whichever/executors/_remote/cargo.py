"""What a process pool carries: calls, results and exceptions, to bytes and buffers and back.

Plain pickle where it is right, cloudpickle for what only one side has (see `payload`). Whatever offers its
memory as a buffer (arrays, and bytes near the top) stays out of the pickle from 64 KiB on: it is handed over as
flat memory views, in the order in which `load_call` and `load_result` want them back.
"""

from __future__ import annotations

import functools
import io
import pickle
import sys
import traceback
from contextvars import ContextVar
from types import FunctionType
from typing import TYPE_CHECKING, Any

from . import prepared
from .loading import loading
from .payload import PROTOCOL, load, read_error, sent_by_value, text_of
from .variables import reduce_variable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

OUT_OF_BAND_BYTES = 64 * 1024
"""Smaller buffers travel inside the pickle: a range of shared memory of their own would cost more than the copy."""
_SEARCHED_ITEMS = (
    1024  # of a longer list only the first is looked at: a million ints must not be searched for bytes
)
_BYTES = frozenset({bytes, bytearray})
_SEARCHED = frozenset({bytes, bytearray, list, tuple, dict})

_forbidden: tuple[str, ...] = ()


def dump_call(
    fn: Callable[..., Any] | None,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    by_value: tuple[str, ...] = (),
) -> tuple[bytes, list[memoryview]]:
    """Pickle a call; `fn` is None where the worker has the function already.

    Args:
        fn: The function, or None.
        args: Its positional arguments.
        kwargs: Its keyword arguments.
        by_value: Modules whose top-level code is running: what is theirs goes as code, and importing them is
            refused in the worker.

    Raises:
        Exception: Whatever the arguments raise when pickled.
    """
    call = (fn, args, kwargs, by_value) if by_value else (fn, args, kwargs)
    for value in (*args, *kwargs.values()) if kwargs else args:  # a loop, for this is in every task's way
        if type(value) in _SEARCHED and _holds_large(value):
            return _dump(call, by_value, _LargePickler)
    return _dump(call, by_value)


def load_call(
    blob: bytes | memoryview, buffers: Sequence[Any] = ()
) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """Load what `dump_call` made; what the arguments raise when loaded goes on to the caller."""
    fn, args, kwargs, *rest = _load_as_guest(blob, buffers)
    forbid(rest[0] if rest else ())
    return fn, args, kwargs


def dump_function(fn: Callable[..., Any], by_value: tuple[str, ...] = ()) -> bytes:
    """Pickle a function alone, for a worker to keep."""
    return dump_whole(fn, by_value)


def load_function(blob: bytes | memoryview) -> Any:
    """Load what `dump_function` made."""
    return _load_as_guest(blob, ())


def dump_result(value: object, by_value: tuple[str, ...] = ()) -> tuple[bytes, list[memoryview]]:
    """Pickle a result."""
    if type(value) in _SEARCHED and _holds_large(value):
        return _dump(value, by_value, _LargePickler)
    return _dump(value, by_value)


def load_result(blob: bytes | memoryview, buffers: Sequence[Any] = ()) -> Any:
    """Load what `dump_result` made."""
    return _load(blob, buffers)


def dump_whole(value: object, by_value: tuple[str, ...] = ()) -> bytes:
    """Pickle `value` with all its buffers inside."""
    try:
        blob = pickle.dumps(value, PROTOCOL)
    except Exception:  # noqa: BLE001 - whatever stops pickle, cloudpickle may know how; if not, it says why
        blob = b""
    if not blob or _names_ours(blob, by_value):
        file = io.BytesIO()
        with sent_by_value(by_value):
            _code_pickler()(file, PROTOCOL).dump(value)
        blob = file.getvalue()
    return blob


def dump_error(error: BaseException, most_bytes: int | None = None) -> bytes:
    """Pickle an exception with its traceback's text; proves that it loads again, else sends only the text.

    Args:
        error: The exception.
        most_bytes: What the pickle may take, if there is a limit; a longer one becomes text, and that is cut.
    """
    kind = type(error)
    try:
        _drop_own_frames(error)
        trace = "".join(traceback.format_exception(error))
    except Exception as failure:  # noqa: BLE001 - the exception's own code runs here and may raise anything
        trace = f"<no traceback: {type(failure).__name__} while formatting it>\n"
    try:
        blob: bytes | None = dump_whole(error)
        if not isinstance(load(blob or b""), kind):
            blob = None
    except Exception:  # noqa: BLE001 - the exception's own code runs here and may raise anything
        blob = None
    name, text = f"{kind.__module__}.{kind.__qualname__}", text_of(error)
    letter = pickle.dumps((blob, name, text, trace), PROTOCOL)
    if most_bytes is None or len(letter) <= most_bytes:
        return letter
    part = most_bytes // 16  # characters of up to four bytes, in two texts, and room for the rest
    return pickle.dumps((None, name, shorten(text, part), shorten(trace, part)), PROTOCOL)


def shorten(text: str, characters: int) -> str:
    """Return `text`, or its beginning and its end with a note of what was cut."""
    if len(text) <= characters:
        return text
    half = characters // 2
    return f"{text[:half]}\n[... {len(text) - 2 * half} characters cut ...]\n{text[-half:]}"


def load_error(blob: bytes | memoryview) -> BaseException:
    """Return the task's exception, or a `RemoteError` that stands for it; the far traceback is its cause."""
    from concurrent.futures.process import _RemoteTraceback  # noqa: PLC0415 - the caller's side alone needs them

    from whichever.errors import RemoteError  # noqa: PLC0415

    found, kind, text, trace = read_error(blob)
    error = RemoteError(kind, text, trace) if found is None else found
    # The very class of the standard library's pool: programs and its test suite look for it.
    error.__cause__ = _RemoteTraceback(f'\n"""\n{trace}"""')  # type: ignore[arg-type]  # text, in truth
    return error


def forbid(names: tuple[str, ...]) -> None:
    """Make exactly `names`, modules whose code is running at the caller, unimportable: it would run twice."""
    global _forbidden  # noqa: PLW0603 - a fact of the whole process
    if names == _forbidden:
        return
    for name in set(_forbidden) - set(names):
        if sys.modules.get(name, loading) is None:
            del sys.modules[name]
    for name in names:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]  # None is how the import system says no
    _forbidden = names


def _dump(value: object, by_value: tuple[str, ...], pickler: Any = None) -> tuple[bytes, list[memoryview]]:
    views: list[memoryview] = []

    def keeps(buffer: pickle.PickleBuffer) -> bool:
        """Take a buffer that an object offers; say True for one that is to go into the pickle."""
        view = buffer.raw()
        if view.nbytes < OUT_OF_BAND_BYTES:
            return True
        views.append(view)
        return False

    try:
        if pickler is None:
            blob = pickle.dumps(value, PROTOCOL, buffer_callback=keeps)
        else:
            blob = _dump_with(pickler, value, views, keeps)
    except Exception:  # noqa: BLE001 - whatever stops pickle, cloudpickle may know how; if not, it says why
        blob = b""
    if not blob or _names_ours(blob, by_value):
        views.clear()
        with sent_by_value(by_value):
            blob = _dump_with(_code_pickler(), value, views, keeps)
    return blob, views


def _dump_with(pickler: Any, value: object, views: list[memoryview], keeps: Callable[..., bool]) -> bytes:
    """Pickle `value` with a pickler that leaves large bytes out; they follow the other views, the last one first."""
    file = io.BytesIO()
    writer = pickler(file, PROTOCOL, buffer_callback=keeps)
    large = _Large()
    writer.place = large.place
    writer.dump(value)
    views += map(memoryview, reversed(large.values))
    return file.getvalue()


def _names_ours(blob: bytes, by_value: tuple[str, ...]) -> bool:
    """Say whether the pickle may name what the other side must not import."""
    return b"__main__" in blob or (bool(by_value) and any(name.encode() in blob for name in by_value))


def _load_as_guest(blob: bytes | memoryview, buffers: Sequence[Any]) -> Any:
    with loading:
        try:
            return _load(blob, buffers)
        except ImportError:
            if not _forbidden:
                raise
            forbid(())  # its code may have run to its end since, and the caller sends it by name now
            return _load(blob, buffers)


def _load(blob: bytes | memoryview, buffers: Sequence[Any]) -> Any:
    if buffers:
        return _LargeUnpickler(blob, buffers).load()
    return pickle.loads(blob)  # noqa: S301 - both ends are this program


def _holds_large(value: Any) -> bool:
    """Say whether `value` is large bytes or a list, tuple or dict with some among its own items."""
    if type(value) in _BYTES:
        return len(value) >= OUT_OF_BAND_BYTES
    items = value.values() if type(value) is dict else value
    if len(value) > _SEARCHED_ITEMS:
        items = [next(iter(items))]
    return any(type(item) in _BYTES and len(item) >= OUT_OF_BAND_BYTES for item in items)


class _Large:
    """The large bytes that stay out of one pickle."""

    def __init__(self) -> None:
        self.values: list[bytes | bytearray] = []
        self._places: dict[int, int] = {}

    def place(self, value: Any) -> tuple[int, bool] | None:
        """Take large bytes; give their place, the same one for the same object, and whether they may change."""
        if type(value) not in _BYTES or len(value) < OUT_OF_BAND_BYTES:
            return None
        place = self._places.setdefault(id(value), len(self.values))
        if place == len(self.values):
            self.values.append(value)
        return place, type(value) is bytearray


def _stay(_value: object) -> None:
    """Take nothing out of the pickle."""


class _LargePickler(pickle.Pickler):
    """Leaves large bytes out, wherever they are. They are no buffers to pickle, so they become persistent ids.

    Wrapping them instead would mean to rebuild the lists that hold them, and lists that two arguments share
    would arrive as two.
    """

    place: Callable[[Any], object] = staticmethod(_stay)

    def persistent_id(self, value: Any) -> Any:
        """Give the place of large bytes; None pickles the value as usual."""
        return self.place(value)


class _LargeUnpickler(pickle.Unpickler):
    """Finds the buffers of its pickle in the order in which `_dump_with` gave them."""

    def __init__(self, blob: bytes | memoryview, buffers: Sequence[Any]) -> None:
        super().__init__(io.BytesIO(blob), buffers=iter(buffers))
        self._given = buffers
        self._made: dict[int, bytes | bytearray] = {}

    def persistent_load(self, pid: tuple[int, bool]) -> bytes | bytearray:
        """Return the large bytes of a place, one object for each."""
        place, mutable = pid
        if place not in self._made:
            given = self._given[-1 - place]
            self._made[place] = bytearray(given) if mutable else bytes(given)
        return self._made[place]


@functools.cache
def _code_pickler() -> Any:
    """Return the pickler that also knows code, context variables, and large bytes if it is given a `place`."""
    import cloudpickle  # noqa: PLC0415 - 15 ms that only a few callers need

    class CodePickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle has no types
        place = staticmethod(_stay)

        def persistent_id(self, value: Any) -> Any:
            return self.place(value)

        def reducer_override(self, value: Any) -> Any:
            if type(value) is ContextVar:
                return reduce_variable(value, cloudpickle.list_registry_pickle_by_value())
            reduced = super().reducer_override(value)
            return prepared.mark(value, reduced) if type(value) is FunctionType else reduced

    return CodePickler


def _drop_own_frames(error: BaseException) -> None:
    """Let the traceback begin where the user's code does."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_globals.get("__package__") == __package__:
        trace = trace.tb_next
    error.__traceback__ = trace
