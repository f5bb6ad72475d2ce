"""What every engine promises, in one small class.

An engine is opened with a number of workers, runs batches of tasks, and is closed. Whatever happens in
between (a raising task, a killed worker, Ctrl-C), closing leaves no thread busy, no process and no
descriptor.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from types import TracebackType
    from typing import Self

    from whichever._types import EngineName


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one task ended.

    Attributes:
        index: Position of the task's item in the batch.
        value: What the task returned; None when it raised.
        error: What the task raised, or a `WorkerDied` where its worker died and was replaced; None when it returned.
    """

    index: int
    value: Any = None
    error: BaseException | None = None


class Engine(ABC):
    """One way to run tasks.

    Args:
        workers: Threads, interpreters or processes; for ``async`` the tasks in flight at once. At least 1.
        modules: Names of modules that the tasks import; an engine that starts fresh interpreters loads them
            before the first task.
    """

    name: ClassVar[EngineName]

    def __init__(self, workers: int, *, modules: Sequence[str] = ()) -> None:
        if workers < 1:
            msg = f"workers must be at least 1, not {workers}"
            raise ValueError(msg)
        self.workers = workers
        self.modules = tuple(modules)

    @classmethod
    @abstractmethod
    def unavailable(cls, fn: Callable[..., Any] | None = None) -> str | None:
        """Say in words why this engine cannot run here (or cannot run `fn`); None when it can."""

    @abstractmethod
    def open(self) -> None:
        """Start the workers and wait until each could run a task."""

    @abstractmethod
    def run(
        self,
        fn: Callable[[Any], Any],
        items: Iterable[Any],
        *,
        chunksize: int = 1,
        deadline: float | None = None,
    ) -> list[Outcome]:
        """Run ``fn(item)`` for each item and return the outcomes in the items' order.

        Args:
            fn: The task; a coroutine function for the ``async`` engine.
            items: The arguments. Each item that was started has an outcome.
            chunksize: Tasks per message, where the engine sends messages and does not know better.
            deadline: ``time.monotonic()`` value after which no further item is started. The list then holds
                outcomes of the started ones only.

        Raises:
            EngineError: Workers ended and cannot be replaced; the engine is closed.
        """

    @abstractmethod
    def close(self, *, kill: bool = False) -> None:
        """Stop the workers; with `kill`, without waiting for running tasks. Calling it again does nothing."""

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(kill=kind is not None)
