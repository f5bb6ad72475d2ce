"""Arrays that stay in shared memory: copied once, sent to any number of tasks by name."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, TypeVar

from whichever import _core

if TYPE_CHECKING:
    from typing import Any

T = TypeVar("T")

_PROTOCOL = 5


def share(value: T) -> T:
    """Return a read-only equal of `value` whose arrays lie in shared memory.

    Handing it (or a contiguous part of it) to a `ProcessPool` costs the same whatever its size: workers map the memory
    instead of receiving a copy. What a task writes to its own view stays with the task. The memory is given back when
    neither this process nor a worker uses it any more.

    Args:
        value: A numpy array, or whatever else gives its memory to pickle as buffers (a pandas frame, an Arrow table, a
            dict of arrays).

    Raises:
        TypeError: There is no array in it. For bytes, pass ``numpy.frombuffer(data, dtype="u1")``.
        MemoryError: There is not enough memory for the copy.
    """
    buffers: list[Any] = []

    def keep(buffer: pickle.PickleBuffer) -> bool:
        view = buffer.raw()
        if not view.nbytes:
            return True
        buffers.append(_core.share_buffer(view))
        return False

    blob = b"" if isinstance(value, bytearray) else pickle.dumps(value, _PROTOCOL, buffer_callback=keep)
    if not buffers:
        msg = f"{type(value).__name__} holds no array to share; for bytes, share numpy.frombuffer(data, dtype='u1')"
        raise TypeError(msg)
    shared: T = pickle.loads(blob, buffers=buffers)  # noqa: S301 - made three lines above
    return shared
