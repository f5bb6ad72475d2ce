"""bcrypt: one password hash a task."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import bcrypt

if TYPE_CHECKING:
    from workloads.registry import Prepared

_SALT = b"$2b$08$abcdefghijklmnopqrstuu"


def hash_password(password: bytes) -> bytes:
    return bcrypt.hashpw(password, _SALT)


@contextmanager
def prepare_bcrypt_hash() -> Prepared:
    yield hash_password, [f"password {number}".encode() for number in range(60)]
