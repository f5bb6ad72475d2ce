"""Tasks that workers find by their names."""

import os
import signal
import time


def same(value):
    return value


def square(number):
    return number * number


def add(left, right=0, *more):
    return left + right + sum(more)


def fail(text):
    raise ValueError(text)


def pid_of(_item=None):
    return os.getpid()


def nap(seconds):
    time.sleep(seconds)
    return seconds


def spin(path):
    """Say that it runs, then never end, in Python."""
    mark(path)
    while True:
        pass


def refuse_to_end(path):
    """Say that it runs, then swallow whatever is raised in it."""
    mark(path)
    while True:
        try:
            time.sleep(0.01)
        except BaseException:
            mark(f"{path}.swallowed")


def wait_for(path, gate):
    """Say that it runs, then wait until a file is there."""
    mark(path)
    while not os.path.exists(gate):
        time.sleep(0.002)
    return os.getpid()


def mark(path):
    with open(path, "a") as file:
        file.write(f"{os.getpid()}\n")


def die(_item=None, number=signal.SIGKILL):
    os.kill(os.getpid(), number)
    time.sleep(60)


def die_once(path, value):
    """Die when it runs for the first time."""
    if not os.path.exists(path):
        mark(path)
        die()
    return value


def leave(code):
    os._exit(code)


def nap_briefly(value):
    time.sleep(0.001)
    return value


def raise_stop(_number):
    msg = "enough"
    raise StopIteration(msg)


def invert(number):
    return 1 / number


def increment(number):
    return number + 1


def sleep_on(path):
    """Say that it runs, then sleep in native code for ever."""
    mark(path)
    time.sleep(1000)


def refuse_and_spin(path):
    """Say that it runs, then never end in Python, whatever is raised in it."""
    mark(path)
    while True:
        try:
            while True:
                pass
        except BaseException:
            mark(f"{path}.swallowed")


def count_to(number):
    return sum(1 for _ in range(number))
