"""Loops that break their word, each in one way, for the tests of the conformance run."""

import asyncio
import os
import threading


class Backwards(asyncio.SelectorEventLoop):
    """Runs the callback that was given last first."""

    def _run_once(self):
        self._ready.reverse()
        super()._run_once()


class Asleep(asyncio.SelectorEventLoop):
    """Sleeps and is not woken."""

    def _run_once(self):
        threading.Event().wait()


class Fatal(asyncio.SelectorEventLoop):
    """Takes the process down when a timer is set."""

    def call_at(self, *_arguments, **_options):
        os._exit(3)
