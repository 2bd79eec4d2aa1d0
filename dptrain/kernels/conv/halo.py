"""Images in a frame of zeros: a tap that reaches over the edge is then an ordinary one."""

from __future__ import annotations

import numpy as np

from dptrain.kernels import aligned
from dptrain.kernels._jit import kernel
from dptrain.types import F32


def framed(x: F32, corner: tuple[int, int], size: tuple[int, int]) -> F32:
    """x (n, h, w, c) at `corner` of zeros (n, *size, c); x itself where it already has this size and C order."""
    n, h, w, c = x.shape
    if (h, w) == size:
        return np.ascontiguousarray(x)
    out = aligned.empty((n, *size, c))
    _embed(x, out, *corner)
    return out


@kernel
def _embed(x: F32, out: F32, top: int, left: int) -> None:
    """Copies x (n, h, w, c) into out (n, H, W, c) at (top, left); the rest becomes zero."""
    n, h, w, c = x.shape
    height = out.shape[1]
    for i in range(n):
        for row in range(height):
            if row < top or row >= top + h:
                out[i, row] = 0
                continue
            out[i, row, :left] = 0
            for q in range(w):
                for j in range(c):
                    out[i, row, left + q, j] = x[i, row - top, q, j]
            out[i, row, left + w :] = 0
