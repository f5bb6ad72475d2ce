"""Which functions are coroutine functions, and who refuses them."""

from __future__ import annotations

import inspect
from types import FunctionType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def is_coroutine_function(fn: Callable[..., Any]) -> bool:
    """Say whether calling `fn` gives a coroutine; sees through partials and callable objects."""
    if type(fn) is FunctionType and fn.__code__.co_flags & inspect.CO_COROUTINE:
        return True  # the usual case, without a microsecond of looking through layers
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(type(fn).__call__)


def refuse_coroutine_function(fn: Callable[..., Any] | None, name: str) -> str | None:
    """Say why an engine of threads or processes does not run `fn`, if it is a coroutine function."""
    if fn is None or not is_coroutine_function(fn):
        return None
    return f"a coroutine function needs an event loop, which the {name} engine does not have"
