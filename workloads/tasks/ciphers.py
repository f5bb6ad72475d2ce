"""cryptography: fast encryption in blocks, and keys whose making takes long and uneven."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from workloads import data

if TYPE_CHECKING:
    from workloads.registry import Prepared


def encrypt(block: bytes) -> bytes:
    cipher = Cipher(algorithms.AES(bytes(range(32))), modes.CBC(bytes(16))).encryptor()
    return cipher.update(block) + cipher.finalize()


def make_key(bits: int) -> int:
    return rsa.generate_private_key(public_exponent=65537, key_size=bits).key_size


@contextmanager
def prepare_aes_cbc() -> Prepared:
    yield encrypt, data.random_bytes(30, 4 << 20) * 4


@contextmanager
def prepare_rsa_keys() -> Prepared:
    yield make_key, [2048] * 16
