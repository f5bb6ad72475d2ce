"""Pools that are right, and pools that are wrong in one way each: what the pool tools must tell apart."""

import contextlib
import ctypes
import multiprocessing
import os
import threading
from concurrent.futures import Executor, Future, ProcessPoolExecutor

FORK = multiprocessing.get_context("fork")


class Reversed(ProcessPoolExecutor):
    """Its map gives the results in the wrong order."""

    def map(self, *arguments, timeout=None, **options):
        results = super().map(*arguments, timeout=timeout, **options)
        return results if timeout else reversed(list(results))


class Deaf(ProcessPoolExecutor):
    """Never takes a task."""

    def submit(self, *_, **__):
        threading.Event().wait()


class Fatal(ProcessPoolExecutor):
    """Takes its caller down."""

    def submit(self, *_, **__):
        os.abort()


class Refusing(ProcessPoolExecutor):
    def submit(self, *_, **__):
        msg = "not today"
        raise RuntimeError(msg)


class Lingering(ProcessPoolExecutor):
    """Leaves a thread that keeps its interpreter from ending."""

    def submit(self, *_, **__):
        threading.Thread(target=threading.Event().wait).start()
        msg = "left a thread"
        raise RuntimeError(msg)


class Leaking(ProcessPoolExecutor):
    """Leaves a descriptor and a memory file behind."""

    def __init__(self, workers):
        super().__init__(workers, mp_context=FORK)
        self.kept = ctypes.CDLL(None).memfd_create(
            b"kept", 0
        )  # some builds of Python have no os.memfd_create


class Inline(Executor):
    """Runs each task in the caller."""

    def __init__(self, max_workers=None, *, retries=0):
        self.retries = retries

    def submit(self, fn, *arguments):
        future = Future()
        future.set_result(fn(*arguments))
        return future

    def terminate_workers(self):
        """Do nothing: from 3.14 on the standard tests name these two when they are loaded."""

    kill_workers = terminate_workers


class Sturdy(Executor):
    """A pool of one worker, a process for each batch, that begins a batch again when its worker is killed."""

    BATCH = 20

    def __init__(self, _workers, *, retries=0):
        self.retries = retries
        self.pids = []

    def worker_pids(self):
        return list(self.pids)

    def map(self, fn, *iterables):
        calls = list(zip(*iterables, strict=True))
        for first in range(0, len(calls), self.BATCH):
            yield from self.batch(fn, calls[first : first + self.BATCH])

    def submit(self, fn, *arguments):
        future = Future()
        future.set_result((self.batch(fn, [arguments]) or [None])[0])
        return future

    def batch(self, fn, calls):
        for _ in range(self.retries + 1):
            results = self.attempt(fn, calls)
            if results is not None:
                return results
        msg = "no retries left"
        raise RuntimeError(msg)

    def attempt(self, fn, calls):
        here, there = FORK.Pipe(duplex=False)
        worker = FORK.Process(target=lambda: there.send([fn(*call) for call in calls]))
        worker.start()
        there.close()
        self.pids = [worker.pid]
        with here, contextlib.suppress(EOFError, OSError):
            results = here.recv()
            self.pids = []
            worker.join()
            return results
        self.pids = []
        worker.join()
        return None


class Forgetful(Sturdy):
    """Loses what a killed worker had."""

    def batch(self, fn, calls):
        return self.attempt(fn, calls) or []


class Mistaken(Sturdy):
    """Gives the first result of each batch twice."""

    def batch(self, fn, calls):
        results = super().batch(fn, calls)
        return results[:1] + results[:-1]
