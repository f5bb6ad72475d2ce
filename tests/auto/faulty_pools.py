"""Pools that are wrong in one way each, for the tools that are to find it."""

import threading

import whichever


class Doubling(whichever.ThreadPool):
    """Runs the first task of each map a second time."""

    def map(self, fn, *iterables, **options):
        self.submit(fn, *(items[0] for items in iterables)).exception()
        return super().map(fn, *iterables, **options)


class Mixing(whichever.ThreadPool):
    """Gives the results of a map backwards."""

    def map(self, fn, *iterables, **options):
        return iter(list(super().map(fn, *iterables, **options))[::-1])


class Leaving(whichever.ThreadPool):
    """Leaves a thread behind."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.patient = threading.Thread(target=threading.Event().wait, daemon=True)
        self.patient.start()
