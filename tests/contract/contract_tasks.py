"""Tasks that workers import by name; nothing here may import whichever (sub-interpreters cannot load it)."""

import contextvars
import os
import sys
import time
import warnings

note = contextvars.ContextVar("note", default="unset")


class AwkwardError(Exception):
    """Does not load again after pickling: it wants an argument that pickle does not keep."""

    def __init__(self, first, second):
        super().__init__(first)
        self.second = second


class Unpicklable:
    def __reduce__(self):
        msg = "stays here"
        raise TypeError(msg)


def refuse_to_load():
    msg = "does not load"
    raise ValueError(msg)


class Unloadable:
    """Pickles, but refuses to load."""

    def __reduce__(self):
        return refuse_to_load, ()


def square(item):
    return item * item


def same(item):
    return item


def invert(item):
    return 1 / item


def nap(seconds):
    time.sleep(seconds)
    return seconds


def spin_for_ever(item):
    while True:
        item = not item


def leave(item):
    sys.exit(item)


def raise_base(item):
    raise BaseException(item)


def raise_awkward(item):
    raise AwkwardError(item, 2)


def raise_local(item):
    class LocalError(Exception):
        pass

    raise LocalError(item)


def with_note(item):
    try:
        msg = "inner"
        raise KeyError(msg)
    except KeyError as error:
        error.add_note("a note")
        raise


def unpicklable(item):
    return Unpicklable() if item else "fine"


def unloadable(item):
    return Unloadable() if item else "fine"


def closure_result(item):
    return lambda: item + 1


def warn_of(item):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.warn(str(item), stacklevel=1)
    return len(caught)


def length(item):
    return len(item)


def repeat(size):
    return b"x" * size


def read_note(item):
    before = note.get()
    note.set(f"task {item}")
    return before


def pid(item):
    return os.getpid()


def recurse(item):
    return recurse(item)


def wait_for_another(item):
    """Wait, bounded, until another task has made the file, or make it; say whether it was there in time."""
    path, makes = item
    if makes:
        open(path, "w").close()
    end = time.monotonic() + 10.0
    while makes is None and not os.path.exists(path):
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True
