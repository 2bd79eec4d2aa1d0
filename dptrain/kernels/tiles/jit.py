"""The arithmetic of bf16, compiled. Same names and arguments as reference.py."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from dptrain.kernels import aligned, amx
from dptrain.kernels._jit import kernel
from dptrain.kernels.intrinsics.lines import copy_line
from dptrain.kernels.intrinsics.tiled import begin_tiles, end_tiles, tile_dot
from dptrain.types import F32, U16


@kernel
def _convert(x: F32, y: U16, count: int) -> None:
    copy_line(x, 0, y, 0, count, 16)


@kernel
def _widen(x: U16, y: F32, count: int) -> None:
    copy_line(x, 0, y, 0, count, 16)


@cache
def _dot(TILES: int) -> Callable[[F32, U16, U16], None]:
    @kernel
    def run(c: F32, a: U16, b: U16) -> None:
        begin_tiles(TILES)
        tile_dot(c, a, b, TILES)
        end_tiles(TILES)

    return run


def narrow(x: F32) -> U16:
    """Rounds to bf16, to nearest even; denormals become zeros of their sign, a NaN becomes quiet."""
    lines = -(-x.size // 16)
    source, out = np.zeros(lines * 16, np.float32), np.empty(lines * 16, np.uint16)
    source[: x.size] = x.reshape(-1)
    _convert(source, out, lines)
    return out[: x.size].reshape(x.shape)


def widen(x: U16) -> F32:
    """The same number as float32."""
    lines = -(-x.size // 16)
    source, out = np.zeros(lines * 16, np.uint16), np.empty(lines * 16, np.float32)
    source[: x.size] = x.reshape(-1)
    _widen(source, out, lines)
    return out[: x.size].reshape(x.shape)


def dot(c: F32, a: U16, b: U16) -> F32:
    """TDPBF16PS: c (16, 16), a (16, 32), b (16, 16, 2) -> c + a b; by the instruction where it may be used."""
    out = aligned.empty((256,))
    out[:] = c.reshape(-1)
    _dot(amx.tiles())(out, a.reshape(-1).copy(), b.reshape(-1).copy())
    return out.reshape(16, 16)
