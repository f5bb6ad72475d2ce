"""Every exception that whichever raises of its own: one tree, beside the standard ones users catch."""

from __future__ import annotations


class WhicheverError(Exception):
    """Base of all errors of whichever; catch it to catch them all."""


class NoItemsError(WhicheverError, ValueError):
    """Nothing to measure: the iterable gave no item. Pass at least one."""


class TaskError(WhicheverError, RuntimeError):
    """Every sampled task raised, so there is nothing to judge by.

    The first task's own exception is the ``__cause__``.

    Attributes:
        index: Position of the first failing item, counted from 0.
    """

    def __init__(self, message: str, index: int) -> None:
        super().__init__(message)
        self.index = index


class EngineError(WhicheverError, RuntimeError):
    """An engine could not be started or lost its workers; the message says which and what to do."""


class EngineUnavailableError(EngineError, ValueError):
    """The engine does not exist here, or cannot run this function; the message says why."""


class ProbeError(WhicheverError, OSError):
    """The interpreter's memory does not look as this version of whichever expects; the message says where."""
