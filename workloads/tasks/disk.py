"""Files: many small ones in the page cache, large ones, durable writes, compressed logs."""

from __future__ import annotations

import gzip
import hashlib
import os
import tempfile
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING

from workloads import data

if TYPE_CHECKING:
    from collections.abc import Iterator

    from workloads.registry import Prepared


def read_small(path: str) -> int:
    with open(path, "rb") as file:  # noqa: PTH123 - opening is the task; a Path object would cost as much again
        return len(file.read())


def read_large(path: str) -> int:
    with open(path, "rb") as file:  # noqa: PTH123 - as above
        return file.read().count(b"\0")


def digest_file(path: str) -> str:
    with open(path, "rb") as file:  # noqa: PTH123 - as above
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_durably(item: tuple[str, bytes]) -> int:
    path, block = item
    with open(path, "wb") as file:  # noqa: PTH123 - as above
        file.write(block)
        file.flush()
        os.fsync(file.fileno())
    return len(block)


def count_defs(path: str) -> int:
    with gzip.open(path, "rt", encoding="utf-8", errors="replace") as lines:
        return sum(line.lstrip().startswith("def ") for line in lines)


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="workloads-") as folder:
        yield Path(folder)


def _write_blocks(folder: Path, blocks: list[bytes]) -> list[str]:
    paths = [folder / f"{number:04}" for number in range(len(blocks))]
    for path, block in zip(paths, blocks, strict=True):
        path.write_bytes(block)
    return [str(path) for path in paths]


@contextmanager
def prepare_small_files() -> Prepared:
    paths = [str(path) for path in data.source_paths(1, 100_000)]
    for path in paths:
        read_small(path)  # so that every run, the first included, finds them in the page cache
    yield read_small, list(islice(cycle(paths), 60_000))


@contextmanager
def prepare_large_files() -> Prepared:
    with _folder() as folder:
        yield read_large, _write_blocks(folder, data.random_bytes(8, 16 << 20)) * 12


@contextmanager
def prepare_digest_files() -> Prepared:
    with _folder() as folder:
        yield digest_file, _write_blocks(folder, data.random_bytes(40, 4 << 20)) * 6


@contextmanager
def prepare_durable_writes() -> Prepared:
    with _folder() as folder:
        blocks = data.random_bytes(16, 1 << 16)
        yield write_durably, [(str(folder / f"{number:04}"), blocks[number % 16]) for number in range(1_000)]


@contextmanager
def prepare_gzip_logs() -> Prepared:
    with _folder() as folder:
        packed = [gzip.compress(block, 6) for block in data.source_blocks(40, 400_000)]
        yield count_defs, _write_blocks(folder, packed) * 4
