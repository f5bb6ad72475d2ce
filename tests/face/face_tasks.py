"""Tasks of every pool: importable, for interpreters and processes too."""

import contextvars
import os
import time

import whichever

tag = contextvars.ContextVar("tag", default="none")
prepared = None


def same(item):
    return item


def add(left, right=0, more=0):
    return left + right + more


def given(**arguments):
    return arguments


def square(item):
    return item * item


def invert(item):
    return 1 / item


def stop_at(last, item):
    if item == last:
        raise StopIteration
    return item


def nap(seconds):
    time.sleep(seconds)
    return seconds


def mark(path, _item=None):
    with open(path, "a") as file:
        file.write("x\n")


def wait_for(path, gate):
    """Say that it runs, and wait until the gate is there."""
    mark(path)
    end = time.monotonic() + 30
    while not os.path.exists(gate):
        if time.monotonic() > end:
            raise TimeoutError(gate)
        time.sleep(0.005)
    return gate


def fail(text):
    raise LookupError(text)


def leave(code):
    raise SystemExit(code)


def prepare(value):
    global prepared
    prepared = value


def look(_item=None):
    return prepared


def read_tag():
    return tag.get()


def set_tag(value):
    tag.set(value)
    return tag.get()


def version():
    return whichever.__name__
