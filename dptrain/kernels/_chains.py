"""The order in which an image's pixels are added up, a channel: four chains of pixels 0, 1, 2, 3 (mod 4), then
(0 + 1) + (2 + 3). Lanes are channels, so no vector width enters.
"""

from __future__ import annotations

import numpy as np

from dptrain.kernels._jit import kernel
from dptrain.types import F32


@kernel
def add_pixels(x: F32, i: int, chains: F32) -> None:
    """chains (4, channels) = sums over the pixels of x[i]; x: (n, pixels, channels)."""
    chains[:] = 0
    for p in range(x.shape[1]):
        j = p & 3
        for c in range(x.shape[2]):
            chains[j, c] += x[i, p, c]


@kernel
def joined(chains: F32, c: int) -> np.float32:
    """A channel's chains, added up."""
    return (chains[0, c] + chains[1, c]) + (chains[2, c] + chains[3, c])  # type: ignore[no-any-return]  # float32 in Numba
