"""Process pools behind one small face, so that each figure is measured in the same way on all of them.

A contender is opened with a number of workers. For what it has no call for, the bench notes the reason instead of
a figure. Libraries are imported when a contender is opened, in the bench's child process.
"""

from __future__ import annotations

import importlib
import importlib.util
import itertools
import logging
import multiprocessing
import os
from concurrent.futures import Executor, ProcessPoolExecutor
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

OURS = "whichever"
OUR_CLASS = "whichever:ProcessPool"


class Contender:
    """A pool that is not open yet.

    Attributes:
        package: What must be installed for it; empty for the standard library.
        heavy: Takes seconds to start, so all of its figures share one process and few pools.
        lacks: The calls below that it does not have, each with what stands in the way.
    """

    package: ClassVar[str] = ""
    heavy: ClassVar[bool] = False
    lacks: ClassVar[Mapping[str, str]] = {}

    def open(self, workers: int) -> None:
        """Start the pool."""
        raise NotImplementedError

    def call(self, fn: Callable[..., Any], item: Any) -> Any:
        """Run one task and wait for its result."""
        raise NotImplementedError

    def submit_all(self, fn: Callable[..., Any], items: Iterable[Any]) -> list[Any]:
        """Hand tasks in one by one, then take all results."""
        raise NotImplementedError

    def map(self, fn: Callable[..., Any], items: Sequence[Any]) -> list[Any]:
        """Map with default arguments."""
        raise NotImplementedError

    def map_chunked(self, fn: Callable[..., Any], items: Sequence[Any], chunk: int) -> list[Any]:
        """Map with chunks of a given size."""
        raise NotImplementedError

    def executor(self) -> Executor:
        """Give the Executor that asyncio can use."""
        raise NotImplementedError

    def close(self) -> None:
        """Stop the workers and wait until they are gone."""
        raise NotImplementedError


NO_EXECUTOR = {"executor": "is no Executor"}
NO_CHUNKS = {"map_chunked": "takes no chunk size"}


class Executors(Contender):
    """Whatever is a concurrent.futures.Executor."""

    pool: Executor

    def call(self, fn, item):
        return self.pool.submit(fn, item).result()

    def submit_all(self, fn, items):
        return [future.result() for future in [self.pool.submit(fn, item) for item in items]]

    def map(self, fn, items):
        return list(self.pool.map(fn, items))

    def map_chunked(self, fn, items, chunk):
        return list(self.pool.map(fn, items, chunksize=chunk))

    def executor(self):
        return self.pool

    def close(self):
        self.pool.shutdown(wait=True)


class Ours(Executors):
    """The class under test."""

    spec: str = OUR_CLASS

    def open(self, workers):
        module, _, name = self.spec.partition(":")
        self.pool = getattr(importlib.import_module(module), name)(workers)


class Standard(Executors):
    """concurrent.futures.ProcessPoolExecutor with a start method."""

    def __init__(self, start_method: str) -> None:
        self._start_method = start_method

    def open(self, workers):
        context = multiprocessing.get_context(self._start_method)
        self.pool = ProcessPoolExecutor(workers, mp_context=context)


class Loky(Executors):
    package = "loky"

    def open(self, workers):
        self.pool = importlib.import_module("loky").ProcessPoolExecutor(workers)


class StandardPool(Contender):
    """multiprocessing.Pool, forked: its quickest."""

    lacks = NO_EXECUTOR

    def open(self, workers):
        self.pool = multiprocessing.get_context("fork").Pool(workers)

    def call(self, fn, item):
        return self.pool.apply(fn, (item,))

    def submit_all(self, fn, items):
        return [waiting.get() for waiting in [self.pool.apply_async(fn, (item,)) for item in items]]

    def map(self, fn, items):
        return self.pool.map(fn, items)

    def map_chunked(self, fn, items, chunk):
        return self.pool.map(fn, items, chunksize=chunk)

    def close(self):
        self.pool.close()
        self.pool.join()


class Joblib(Contender):
    package = "joblib"
    lacks = NO_EXECUTOR | {"submit_all": "hands in no single tasks without waiting"}

    def open(self, workers):
        self._workers = workers
        self._joblib = importlib.import_module("joblib")
        self.pool = self._joblib.Parallel(n_jobs=workers)
        self.pool.__enter__()

    def call(self, fn, item):
        return self.map(fn, [item])[0]

    def map(self, fn, items):
        delayed = self._joblib.delayed(fn)
        return self.pool(delayed(item) for item in items)

    def map_chunked(self, fn, items, chunk):
        delayed = self._joblib.delayed(fn)
        parallel = self._joblib.Parallel(n_jobs=self._workers, batch_size=chunk)
        return parallel(delayed(item) for item in items)

    def close(self):
        self.pool.__exit__(None, None, None)
        importlib.import_module("joblib.externals.loky").get_reusable_executor().shutdown(wait=True)


class Mpire(Contender):
    """Two pools of its kind: one that has run `apply` cannot `map` any more."""

    package = "mpire"
    lacks = NO_EXECUTOR

    def open(self, workers):
        make = importlib.import_module("mpire").WorkerPool
        self._single = make(n_jobs=workers, keep_alive=True)
        self._many = make(n_jobs=workers, keep_alive=True)

    def call(self, fn, item):
        return self._single.apply(fn, (item,))

    def submit_all(self, fn, items):
        return [waiting.get() for waiting in [self._single.apply_async(fn, (item,)) for item in items]]

    def map(self, fn, items):
        return self._many.map(fn, items)

    def map_chunked(self, fn, items, chunk):
        return self._many.map(fn, items, chunk_size=chunk)

    def close(self):
        for pool in (self._single, self._many):
            pool.stop_and_join()


class Pebble(Contender):
    package = "pebble"
    lacks = NO_EXECUTOR

    def open(self, workers):
        self.pool = importlib.import_module("pebble").ProcessPool(max_workers=workers)

    def call(self, fn, item):
        return self.pool.schedule(fn, args=(item,)).result()

    def submit_all(self, fn, items):
        return [future.result() for future in [self.pool.schedule(fn, args=(item,)) for item in items]]

    def map(self, fn, items):
        return list(self.pool.map(fn, items).result())

    def map_chunked(self, fn, items, chunk):
        return list(self.pool.map(fn, items, chunksize=chunk).result())

    def close(self):
        self.pool.close()
        self.pool.join()


class Ray(Contender):
    package = "ray"
    heavy = True
    lacks = NO_EXECUTOR | NO_CHUNKS

    def open(self, workers):
        # Its own word on one machine; without it, it asks the network whether it is in a cluster.
        os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
        self._ray = importlib.import_module("ray")
        self._ray.init(
            num_cpus=workers, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False
        )
        self._remotes: dict[Callable[..., Any], Any] = {}

    def _start(self, fn, item):
        if fn not in self._remotes:
            self._remotes[fn] = self._ray.remote(fn)
        return self._remotes[fn].remote(item)

    def call(self, fn, item):
        return self._ray.get(self._start(fn, item))

    def submit_all(self, fn, items):
        return self._ray.get([self._start(fn, item) for item in items])

    def map(self, fn, items):
        return self.submit_all(fn, items)

    def close(self):
        self._ray.shutdown()


class Dask(Contender):
    package = "distributed"
    heavy = True
    lacks = NO_CHUNKS

    def open(self, workers):
        distributed = importlib.import_module("distributed")
        self._client = distributed.Client(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            silence_logs=logging.ERROR,
        )

    def call(self, fn, item):
        return self._client.submit(fn, item, pure=False).result()

    def submit_all(self, fn, items):
        return self._client.gather([self._client.submit(fn, item, pure=False) for item in items])

    def map(self, fn, items):
        return self._client.gather(self._client.map(fn, items, pure=False))

    def executor(self):
        return self._client.get_executor(pure=False)

    def close(self):
        self._client.shutdown()


class TwoProcesses(Contender):
    """No pool: forks a process for each share of the items. What the cores themselves can do."""

    lacks: ClassVar[Mapping[str, str]] = {"call": "is no pool"}

    def open(self, workers):
        self._workers = workers

    def map(self, fn, items):
        children = []
        for first in range(self._workers):
            child = os.fork()
            if child == 0:
                for item in itertools.islice(items, first, None, self._workers):
                    fn(item)
                os._exit(0)
            children.append(child)
        for child in children:
            os.waitpid(child, 0)
        return [None] * len(items)

    def close(self):
        """Have nothing to close."""


CONTENDERS: dict[str, Callable[[], Contender]] = {
    OURS: Ours,
    "PPE fork": lambda: Standard("fork"),
    "PPE forkserver": lambda: Standard("forkserver"),
    "PPE spawn": lambda: Standard("spawn"),
    "mp.Pool": StandardPool,
    "loky": Loky,
    "joblib": Joblib,
    "mpire": Mpire,
    "Pebble": Pebble,
    "Ray": Ray,
    "Dask": Dask,
    "bare processes": TwoProcesses,
}
"""By the name that stands in the tables."""


def missing(name: str, our_class: str = OUR_CLASS) -> str | None:
    """Say why a contender cannot take part; None when it can."""
    contender = CONTENDERS[name]()
    if isinstance(contender, Ours):
        module, _, attribute = our_class.partition(":")
        here = importlib.util.find_spec(module) and hasattr(importlib.import_module(module), attribute)
        return None if here else f"there is no {our_class}"
    if contender.package and importlib.util.find_spec(contender.package) is None:
        return f"{contender.package} is not installed (make bench-rivals)"
    return None
