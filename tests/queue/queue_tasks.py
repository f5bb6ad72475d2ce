"""What the other processes of these tests do; importable by name in each of them."""

from __future__ import annotations

import os
import threading


class Thing:
    """An item that plain pickle carries by name."""

    def __init__(self, number):
        self.number = number

    def __eq__(self, other):
        return isinstance(other, Thing) and other.number == self.number

    def __hash__(self):
        return hash(self.number)


def put_all(queue, items):
    for item in items:
        queue.put(item)


def get_all(queue, answers):
    """Send on what comes, until the queue is closed."""
    for item in queue:
        answers.put(item)
        queue.task_done()
    answers.put(("end", os.getpid()))


def take(queue, count, timeout=30):
    return [queue.get(timeout=timeout) for _ in range(count)]


def close(queue):
    queue.close()


def use_inherited(queue, answers):
    """Use a queue that came by a fork and is not shared."""
    try:
        queue.put(1)
    except RuntimeError as error:
        answers.put(str(error))


def thread(function, *arguments):
    started = threading.Thread(target=function, args=arguments, daemon=True)
    started.start()
    return started
