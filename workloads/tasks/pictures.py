"""Pillow: thumbnails of two photographs."""

from __future__ import annotations

import io
from contextlib import contextmanager
from importlib.resources import files
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    from workloads.registry import Prepared


def thumbnail(photo: bytes) -> bytes:
    with Image.open(io.BytesIO(photo)) as image:
        image.thumbnail((256, 256))
        small = io.BytesIO()
        image.save(small, "JPEG", quality=85)
    return small.getvalue()


def sharpen(photo: bytes) -> bytes:
    """Decode, enlarge and encode: the resampling runs long without the GIL."""
    with Image.open(io.BytesIO(photo)) as image:
        large = io.BytesIO()
        image.resize((1280, 854), Image.Resampling.LANCZOS).save(large, "JPEG", quality=85)
    return large.getvalue()


def _photos(count: int) -> list[bytes]:
    folder = files("sklearn.datasets.images")
    return [(folder / name).read_bytes() for name in ("china.jpg", "flower.jpg")] * (count // 2)


@contextmanager
def prepare_pillow_thumbnail() -> Prepared:
    yield thumbnail, _photos(200)


@contextmanager
def prepare_pillow_enlarge() -> Prepared:
    yield sharpen, _photos(40)
