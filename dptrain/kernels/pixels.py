"""From uint8 pixels to network input, compiled. Elementwise, so the bits are those of the reference."""

from __future__ import annotations

import numpy as np

from dptrain.kernels.compiled import aligned_empty, kernel
from dptrain.types import F32, U8


@kernel
def _standardise(images: U8, mean: F32, std: F32, out: F32) -> None:
    n, h, w, channels = images.shape
    for i in range(n):
        for p in range(h):
            for q in range(w):
                for c in range(channels):
                    out[i, p, q, c] = (np.float32(images[i, p, q, c]) - mean[p, q, c]) / std[c]


def standardise(images: U8, mean: F32, std: F32) -> F32:
    """(n, h, w, c) uint8 -> float32 (x - mean) / std; mean (c,) or (h, w, c), std (c,), in units of 0..255."""
    out = aligned_empty(images.shape)
    means = np.broadcast_to(mean, images.shape[1:]).copy()
    _standardise(np.require(images, requirements=["C", "W"]), means, std, out)
    return out
