"""Native code of the standard library: compression and hashing, with and without the GIL."""

from __future__ import annotations

import hashlib
import lzma
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING

from workloads import data

if TYPE_CHECKING:
    from workloads.registry import Prepared


def compress(block: bytes) -> bytes:
    return zlib.compress(block, 6)


def compress_hard(block: bytes) -> bytes:
    return lzma.compress(block, preset=3)


def digest(block: bytes) -> str:
    return hashlib.sha256(block).hexdigest()


def digest_lines(block: bytes) -> str:
    whole = hashlib.sha256()
    for line in block.splitlines():
        whole.update(hashlib.sha256(line).digest())
    return whole.hexdigest()


def stretch(password: bytes) -> str:
    return hashlib.pbkdf2_hmac("sha256", password, b"salt of the earth", 30_000).hex()


def stretch_in_memory(password: bytes) -> str:
    return hashlib.scrypt(password, salt=b"salt of the earth", n=1 << 13, r=8, p=1).hex()


def _passwords(count: int) -> list[bytes]:
    return [f"password {number}".encode() for number in range(count)]


@contextmanager
def prepare_zlib_compress() -> Prepared:
    yield compress, data.source_blocks(80, 400_000)


@contextmanager
def prepare_lzma_compress() -> Prepared:
    yield compress_hard, data.source_blocks(40, 400_000)


@contextmanager
def prepare_sha256_blocks() -> Prepared:
    yield digest, data.random_bytes(30, 4 << 20) * 8


@contextmanager
def prepare_sha256_lines() -> Prepared:
    yield digest_lines, data.source_blocks(160, 400_000)


@contextmanager
def prepare_pbkdf2() -> Prepared:
    yield stretch, _passwords(100)


@contextmanager
def prepare_scrypt() -> Prepared:
    yield stretch_in_memory, _passwords(40)
