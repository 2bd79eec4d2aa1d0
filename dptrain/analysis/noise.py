"""Noise for pictures: counted, like all chance here, so that a picture can be made again."""

from __future__ import annotations

from math import prod

from dptrain.kernels import philox
from dptrain.types import F64


def normal_pixels(seed: int, stream: int, shape: tuple[int, ...]) -> F64:
    """Deviates of mean 0 and variance 1."""
    return philox.normals(seed, philox.domains.PICTURES, stream, prod(shape)).reshape(shape)
