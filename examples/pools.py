"""One job on several pools: change the class, not the program. Then coroutines with a resource of their own."""

import asyncio
import contextlib

import whichever


def letters(word):
    """Count the letters of a word."""
    return len(word)


words = ["threads", "processes", "coroutines", "interpreters"]
for kind in (whichever.SerialPool, whichever.ProcessPool):
    with kind(2) as pool:
        print(f"{kind.__name__}: {list(pool.map(letters, words))}")


@contextlib.asynccontextmanager
async def connected():
    """Open what the coroutines share, on their loop, and close it there."""
    print("opened")
    yield
    print("closed")


async def answer(question):
    """Wait as for a server."""
    await asyncio.sleep(0.01)
    return f"{question}!"


with whichever.AsyncPool(100, initializer=connected) as pool:
    answers = set(pool.map(answer, (f"question {number}" for number in range(500)), ordered=False))
    slow = pool.submit(asyncio.sleep, 60)
    print(f"{len(answers)} answers; cancelled: {slow.cancel()}")
