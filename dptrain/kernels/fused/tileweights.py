"""Weights in the tiles that fused/tiled.py reads, in bf16; and the sums of its weight gradients, back."""

from __future__ import annotations

import numpy as np

from dptrain.kernels._jit import kernel
from dptrain.kernels.intrinsics.lines import copy_line
from dptrain.types import F32, U16


@kernel
def pack(weights: F32, out: U16, wide: F32, r0: int, s0: int, step: int, s_taps: int, flip: bool) -> None:  # noqa: FBT001
    """Weights (k, c, 3, 3) to tiles out (blocks of 16 outputs, tap rows, chunks, 16, 16, 2); wide: scratch of its size.

    An element of a tap row is (tap of s_taps, input), 32 of them a chunk, in pairs around 16 outputs; zero where there
    is no such element or output. flip: the outputs are c, and taps r0 + step * (tap rows - 1 - r) are taken, s0
    likewise: the weights of an input gradient.
    """
    blocks, r_taps, chunks = out.shape[:3]
    outputs = weights.shape[1] if flip else weights.shape[0]
    inputs = weights.shape[0] if flip else weights.shape[1]
    place = 0
    for b in range(blocks):
        for r in range(r_taps):
            for chunk in range(chunks):
                for pair in range(16):
                    for lane in range(16):
                        for half in range(2):
                            element = chunk * 32 + pair * 2 + half
                            s, i, o = element // inputs, element % inputs, b * 16 + lane
                            value = np.float32(0)
                            if o < outputs and s < s_taps:
                                if flip:
                                    value = weights[i, o, r0 + step * (r_taps - 1 - r), s0 + step * (s_taps - 1 - s)]
                                else:
                                    value = weights[o, i, r, s]
                            wide[place] = value
                            place += 1
    copy_line(wide, 0, out.reshape(-1), 0, place // 16, 16)


@kernel
def unpack(sums: F32, out: F32) -> None:
    """Sums (c / 16, k / 16, r, s, c % 16, k % 16) to dw (k, c, 3, 3)."""
    k, c = out.shape[:2]
    for o in range(k):
        for i in range(c):
            for r in range(3):
                for s in range(3):
                    out[o, i, r, s] = sums[i // 16, o // 16, r, s, i % 16, o % 16]
