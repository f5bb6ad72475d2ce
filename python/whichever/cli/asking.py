"""What the commands ask of the rooms below, as types: a test can answer in their place, at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, cast

import whichever

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from whichever._types import EngineName, Forecast, Ledger


class Answer(Protocol):
    """The part of a verdict that the command line reads."""

    @property
    def engine(self) -> EngineName: ...  # noqa: D102 - as in VerdictData
    @property
    def workers(self) -> int: ...  # noqa: D102
    @property
    def speedup(self) -> float: ...  # noqa: D102
    @property
    def ledger(self) -> Ledger: ...  # noqa: D102
    @property
    def forecasts(self) -> tuple[Forecast, ...]: ...  # noqa: D102
    @property
    def reasons(self) -> tuple[str, ...]: ...  # noqa: D102
    def save(self, path: str) -> object:
        """Write the report (``.html``) or the data (``.json``)."""

    def _repr_html_(self) -> str: ...


class Which(Protocol):
    """``whichever.which``."""

    def __call__(  # noqa: PLR0913 - the public signature
        self,
        fn: Callable[[Any], Any],
        items: Iterable[Any],
        /,
        *,
        count: int | None = None,
        engines: Sequence[EngineName] | None = None,
        workers: int | None = None,
        verify: bool = False,
        budget: float = 1.0,
        progress: Callable[[str], None] | None = None,
    ) -> Answer:
        """Measure, and say which engine is fastest."""


class _Package(Protocol):
    @property
    def which(self) -> Which: ...


class _AdvisorRoom(Protocol):
    def machine(self, *, recalibrate: bool = False) -> object: ...


def which() -> Which:
    """Return the package's own ``which``, loaded only when a command needs it."""
    return cast("_Package", whichever).which


def machine(*, recalibrate: bool) -> object:
    """Ask for the machine's costs; its ``str()`` is the answer."""
    from whichever import advisor  # noqa: PLC0415 - loads the model, which `--help` can do without

    return cast("_AdvisorRoom", advisor).machine(recalibrate=recalibrate)
