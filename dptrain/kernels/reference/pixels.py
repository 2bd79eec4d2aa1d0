"""From uint8 pixels to network input: the definition."""

from __future__ import annotations

import numpy as np

from dptrain.types import F32, U8


def standardise(images: U8, mean: F32, std: F32) -> F32:
    """(n, h, w, c) uint8 -> float32 (x - mean) / std; mean (c,) or (h, w, c), std (c,), in units of 0..255."""
    return (images.astype(np.float32) - mean) / std
