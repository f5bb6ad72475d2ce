"""Tasks for the auto pool: some compute, some wait, some do both."""

import contextvars
import os
import time

written = 0
VARIABLE = contextvars.ContextVar("VARIABLE", default="unset")


def compute(rounds):
    total = 0
    for value in range(rounds):
        total += value * value
    return total


def burn(seconds):
    """Use so much CPU, and return whose."""
    end = time.process_time() + seconds
    while time.process_time() < end:
        compute(200)
    return os.getpid()


def nap(seconds):
    time.sleep(seconds)
    return seconds


def tiny(item):
    return item + 1


def count_up(item):
    global written
    compute(20_000)
    written += 1
    return item


class Slip:
    answer = None


def take_down(on):
    compute(150_000)
    on.answer = 1


def look(item):
    time.sleep(0.003)
    return VARIABLE.get(), item


def two_phases(item):
    return nap(0.01) if item < 0 else compute(30_000)


def fail_at(item):
    if item == 700:
        raise LookupError(item)
    return item


async def answer(item):
    return item * 2


def record(path, item):
    compute(2000)
    with open(path, "ab", buffering=0) as file:
        file.write(b"%d\n" % item)
    return item


class Stubborn:
    """Does not pickle if its number is a certain one."""

    def __init__(self, number, bad):
        self.number, self.bad = number, bad

    def __reduce__(self):
        if self.number == self.bad:
            raise TypeError("this one stays")
        return Stubborn, (self.number, self.bad)


def number_of(stubborn):
    compute(20_000)
    return stubborn.number
