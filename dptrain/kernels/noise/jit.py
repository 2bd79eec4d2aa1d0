"""Noise in Numba; what the function means stands in reference.py."""

from __future__ import annotations

import numpy as np

from dptrain.kernels._jit import kernel
from dptrain.kernels.philox.jit import bounded, keyed
from dptrain.kernels.philox.quantiles import BITS, QUANTILES
from dptrain.types import U8, U32


@kernel
def noise(images: U8, words: U32, strengths: tuple[int, int, int], out: U8) -> None:
    """One of three kinds for each image, equally likely among those whose strength is not 0; the form of augment."""
    n, h, w, c = images.shape
    size = h * w * c
    flat, target = images.reshape(n, size), out.reshape(n, size)
    kinds = np.empty(3, np.int64)
    count = 0
    for kind in range(3):
        if strengths[kind] > 0:
            kinds[count] = kind
            count += 1
    cut, share = 2 * ((strengths[0] * 2**15 + 50) // 100), (strengths[2] * 2**16 + 50) // 100
    for i in range(n):
        draws = keyed(words[i, 0], words[i, 1], (size + 1) // 2)
        kind = kinds[bounded(words[i, 2], count)]
        if kind == 0:
            _salt(flat[i], draws, cut, target[i])
        elif kind == 1:
            _spread(flat[i], draws, (strengths[1], 0), target[i])
        else:
            _spread(flat[i], draws, (0, share), target[i])


@kernel
def _salt(x: U8, draws: U32, cut: int, out: U8) -> None:
    half = cut // 2
    for j in range(x.size):
        draw = (np.int64(draws[j >> 1]) >> (16 * (j & 1))) & 0xFFFF
        out[j] = 0 if draw < half else 255 if draw < cut else x[j]


@kernel
def _spread(x: U8, draws: U32, scales: tuple[int, int], out: U8) -> None:
    """Deviate times (scales[0] + value * scales[1] / 2^16); one of the two is 0, so one rounding is left out."""
    for j in range(x.size):
        draw = (np.int64(draws[j >> 1]) >> (16 * (j & 1))) & 0xFFFF
        z = np.int64(QUANTILES[draw >> (16 - BITS)])
        value = np.int64(x[j])
        value += ((scales[0] * z + 2**11) >> 12) + ((value * scales[1] * z + 2**27) >> 28)
        out[j] = 0 if value < 0 else 255 if value > 255 else value
