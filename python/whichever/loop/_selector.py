"""What stands where the standard loops have their selector: it answers what is watched, and watches nothing itself."""

from __future__ import annotations

import selectors
import weakref
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Mapping

    from whichever._core import LoopCore


class WatchedDescriptors(selectors.BaseSelector):
    """The descriptors that a loop watches, for whoever asks a selector."""

    def __init__(self, loop: LoopCore) -> None:
        self._loop = weakref.ref(loop)

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        """Say what a descriptor is watched for; KeyError when for nothing."""
        loop = self._loop()
        reads, writes = loop._watched(fileobj) if loop is not None else (False, False)
        if not (reads or writes):
            msg = f"{fileobj!r} is not registered"
            raise KeyError(msg)
        fd = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        events = reads * selectors.EVENT_READ | writes * selectors.EVENT_WRITE
        return selectors.SelectorKey(fileobj, fd, events, None)

    def register(self, fileobj: Any, events: int, data: Any = None) -> NoReturn:
        """Refuse: descriptors are given to the loop."""
        raise NotImplementedError

    def unregister(self, fileobj: Any) -> NoReturn:
        """Refuse: descriptors are taken from the loop."""
        raise NotImplementedError

    def select(self, timeout: float | None = None) -> NoReturn:
        """Refuse: the loop waits."""
        raise NotImplementedError

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        """Refuse: nobody needs them all."""
        raise NotImplementedError
