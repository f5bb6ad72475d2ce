"""The same downloads with requests: a session for each call, and one kept open by each thread."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import requests

from workloads.tasks.web import delayed_urls

if TYPE_CHECKING:
    from workloads.registry import Prepared

_of_thread = threading.local()


def _session() -> requests.Session:
    session = requests.Session()
    session.trust_env = False  # a proxy named in the environment has no business on the loopback
    return session


def download(url: str) -> int:
    with _session() as session:
        return len(session.get(url, timeout=30).content)


def download_with_kept_session(url: str) -> int:
    if not hasattr(_of_thread, "session"):
        _of_thread.session = _session()
    return len(_of_thread.session.get(url, timeout=30).content)


@contextmanager
def prepare_requests_50ms() -> Prepared:
    with delayed_urls(40, 50) as urls:
        yield download, urls


@contextmanager
def prepare_requests_session() -> Prepared:
    with delayed_urls(100, 5) as urls:
        try:
            yield download_with_kept_session, urls
        finally:
            if hasattr(_of_thread, "session"):
                _of_thread.session.close()
                del _of_thread.session
