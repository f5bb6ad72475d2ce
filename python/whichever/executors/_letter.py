"""A function as bytes, for workers that share no objects with the caller; or the reason in words why not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from whichever.errors import EngineUnavailableError
from whichever.executors._coroutines import refuse_coroutine_function
from whichever.executors._imports import running_modules

if TYPE_CHECKING:
    from collections.abc import Callable

    from whichever._types import EngineName

    Dump = Callable[[Any, tuple[str, ...]], bytes]


def refuse_function(fn: Callable[..., Any], engine: EngineName, dump: Dump) -> str | None:
    """Say why `fn` cannot go to the engine's workers: it is a coroutine function, or does not pickle."""
    return refuse_coroutine_function(fn, engine) or _try(fn, dump, running_modules())[1]


def write_letter(fn: Callable[..., Any], engine: EngineName, dump: Dump, by_value: tuple[str, ...]) -> bytes:
    """Return the pickled function.

    Raises:
        EngineUnavailableError: It is one that `refuse_function` refuses.
    """
    if reason := refuse_coroutine_function(fn, engine):
        raise EngineUnavailableError(reason)
    letter, reason = _try(fn, dump, by_value)
    if reason:
        raise EngineUnavailableError(reason)
    return letter


def _try(fn: Callable[..., Any], dump: Dump, by_value: tuple[str, ...]) -> tuple[bytes, str | None]:
    try:
        return dump(fn, by_value), None
    except Exception as error:  # noqa: BLE001 - what the function holds may raise anything when pickled
        name = getattr(fn, "__qualname__", repr(fn))
        return b"", f"{name} does not pickle: {type(error).__name__}: {error}"
