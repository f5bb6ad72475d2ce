"""One queue for threads, processes and asyncio tasks; beside it two that stay in their process."""

from whichever.queue import _forking as _forking
from whichever.queue._queue import LifoQueue, PriorityQueue, Queue

__all__ = ["LifoQueue", "PriorityQueue", "Queue"]
