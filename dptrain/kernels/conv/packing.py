"""Weights in the blocks a direct convolution reads, and back."""

from __future__ import annotations

from dptrain.kernels._jit import kernel
from dptrain.types import F32


@kernel
def pack(weights: F32, out: F32, r0: int, s0: int, step: int, flip: bool) -> None:
    """Weights (k, c, r, s) to blocks out (b, R, S, c, lanes); lanes run over k.

    flip: lanes run over c instead and taps r0 + step * (R - 1 - i) are taken: the weights of an input gradient.
    """
    blocks, r_taps, s_taps, inner, width = out.shape
    outputs = weights.shape[1] if flip else weights.shape[0]
    for b in range(blocks):
        for i in range(inner):
            for lane in range(width):
                o = b * width + lane
                for r in range(r_taps):
                    for s in range(s_taps):
                        if o >= outputs:
                            out[b, r, s, i, lane] = 0
                        elif flip:
                            out[b, r, s, i, lane] = weights[
                                i, o, r0 + step * (r_taps - 1 - r), s0 + step * (s_taps - 1 - s)
                            ]
                        else:
                            out[b, r, s, i, lane] = weights[o, i, r, s]


@kernel
def unpack(packed: F32, out: F32) -> None:
    """Blocks (b, r, s, c, lanes) back to (k, c, r, s)."""
    k, c, r_taps, s_taps = out.shape
    width = packed.shape[4]
    for o in range(k):
        for i in range(c):
            for r in range(r_taps):
                for s in range(s_taps):
                    out[o, i, r, s] = packed[o // width, r, s, i, o % width]
