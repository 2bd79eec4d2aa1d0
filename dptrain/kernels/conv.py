"""Convolution, compiled for float32: register blocks over images in a frame of zeros.

With `tile` 2 or 4, 3 x 3 taps with stride 1 and pad 1 over multiples of 8 channels take the shorter way of winograd.py,
by tiles of at most that size. This file does the rest, directly.
Order of additions of the direct way, one fused multiply-add each, from zero:
forward: input channel, then row of taps, then column of taps;
input_gradient: output channel, then the taps that reach the pixel, last tap first;
weight_gradient: within an image row by row, pixel by pixel; then the sums of the images, in order, from zero.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

from dptrain.kernels import winograd
from dptrain.kernels.codegen import registers
from dptrain.kernels.codegen.correlate import correlate_rows, outer_rows
from dptrain.kernels.compiled import aligned_empty, aligned_zeros, kernel, twin
from dptrain.kernels.reference import conv as reference
from dptrain.kernels.winograd import framed
from dptrain.types import F32


@kernel
def pack(weights: F32, out: F32, r0: int, s0: int, step: int, flip: bool) -> None:
    """Weights (k, c, r, s) to blocks out (b, R, S, c, lanes); lanes run over k.

    flip: lanes run over c, and taps r0 + step * (R - 1 - i) are taken: the weights of an input gradient.
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


@cache
def correlate(C: int, K: int, R: int, S: int, XROW: int, XSTEP: int, YSTEP: int, WIDTH: int) -> Callable[..., None]:
    """A sweep over n images of `rows` rows of WIDTH outputs, compiled for one shape.

    It closes over plain ints: only then does Numba's cache work in another process.
    """

    @kernel
    def sweep(
        x: F32, x_start: int, x_image: int, x_row: int, w: F32,
        y: F32, y_start: int, y_image: int, y_row: int, n: int, rows: int,
    ) -> None:  # fmt: skip
        for i in range(n):
            correlate_rows(
                x, x_start + i * x_image, x_row, w, 0, y, y_start + i * y_image, y_row, rows,
                C, K, R, S, XROW, XSTEP, YSTEP, WIDTH,
            )  # fmt: skip

    return sweep


@cache
def outer(
    C: int, K: int, R: int, S: int, XROW: int, STRIDE: int, YROW: int, WIDTH: int
) -> Callable[..., None]:  # fmt: skip
    """Adds the weight gradient of n images to dw[k / lanes][r][s][c][lanes]; compiled for one shape."""
    KP = registers.padded(K)

    @kernel
    def sweep(
        x: F32, x_start: int, x_image: int, dy: F32, y_start: int, y_image: int, dw: F32, n: int, rows: int
    ) -> None:
        for i in range(n):
            outer_rows(
                x, x_start + i * x_image, dy, y_start + i * y_image, dw, rows,
                C, K, R, S, XROW, STRIDE, YROW, KP, WIDTH,
            )  # fmt: skip

    return sweep


@twin(reference.forward)
def forward(x: F32, weights: F32, stride: int, pad: int, tile: int) -> F32:
    """(n, h, w, c), (k, c, r, s) -> (n, p, q, k)."""
    n, h, w, c = x.shape
    k, _, r_taps, s_taps = weights.shape
    if tile and winograd.fits(c, k, (r_taps, s_taps), stride, pad):
        return winograd.forward(x, weights, winograd.choose(c, k, h, w, tile))
    p, q = (h + 2 * pad - r_taps) // stride + 1, (w + 2 * pad - s_taps) // stride + 1
    halo = framed(x, (pad, pad), (h + 2 * pad, w + 2 * pad))
    width, kp = registers.lanes(k), registers.padded(k)
    packed = aligned_empty((kp // width, r_taps, s_taps, c, width))
    pack(weights, packed, 0, 0, 1, False)
    y = aligned_empty((n, p, q, kp))
    pitch = halo.shape[2] * c
    sweep = correlate(c, k, r_taps, s_taps, pitch, stride * c, kp, q)
    sweep(
        halo.reshape(-1), 0, halo.shape[1] * pitch, stride * pitch, packed.reshape(-1),
        y.reshape(-1), 0, p * q * kp, q * kp, n, p,
    )  # fmt: skip
    return y if kp == k else np.ascontiguousarray(y[..., :k])


@twin(reference.input_gradient)
def input_gradient(dy: F32, weights: F32, size: tuple[int, int], stride: int, pad: int, tile: int) -> F32:
    """(n, p, q, k), (k, c, r, s) -> (n, h, w, c) with (h, w) = size.

    Pixels fall into stride x stride classes by their remainders. Within a class the gradient is an ordinary correlation
    of dy with every stride-th tap, so no zeros are inserted or multiplied.
    """
    n, p, q, k = dy.shape
    _, c, r_taps, s_taps = weights.shape
    if tile and winograd.fits(k, c, (r_taps, s_taps), stride, pad):
        return winograd.input_gradient(dy, weights, winograd.choose(k, c, *size, tile))
    rows, columns = (tap_classes(size[axis], weights.shape[2 + axis], stride, pad) for axis in (0, 1))
    (top, bottom), (left, right) = reach(rows, p), reach(columns, q)
    halo = framed(dy, (top, left), (p + top + bottom, q + left + right))
    width, cp = registers.lanes(c), registers.padded(c)
    full = all(t.taps for t in rows + columns)
    dx = (aligned_empty if full else aligned_zeros)((n, *size, cp))
    pitch = halo.shape[2] * k
    for i, r in enumerate(rows):
        for j, s in enumerate(columns):
            if not r.taps or not s.taps:
                continue  # no tap reaches these pixels: a 1 x 1 convolution with stride 2
            packed = aligned_empty((cp // width, r.taps, s.taps, k, width))
            pack(weights, packed, r.first, s.first, stride, True)
            sweep = correlate(k, c, r.taps, s.taps, pitch, k, stride * cp, s.count)
            sweep(
                halo.reshape(-1), (top + r.start) * pitch + (left + s.start) * k, halo.shape[1] * pitch, pitch,
                packed.reshape(-1), dx.reshape(-1), (i * size[1] + j) * cp, size[0] * size[1] * cp,
                stride * size[1] * cp, n, r.count,
            )  # fmt: skip
    return dx if cp == c else np.ascontiguousarray(dx[..., :c])


@twin(reference.weight_gradient)
def weight_gradient(x: F32, dy: F32, taps: tuple[int, int], stride: int, pad: int, tile: int) -> F32:
    """(n, h, w, c), (n, p, q, k) -> (k, c, r, s) with (r, s) = taps; a sum over images and pixels."""
    n, h, w, c = x.shape
    _, p, q, k = dy.shape
    if tile and winograd.fits(c, k, taps, stride, pad):
        return winograd.weight_gradient(x, dy, winograd.choose(c, k, h, w, tile))
    width, kp = registers.lanes(k), registers.padded(k)
    halo = framed(x, (pad, pad), (h + 2 * pad, w + 2 * pad))
    if kp != k:
        wide = aligned_zeros((n, p, q, kp))
        wide[..., :k] = dy
        dy = wide
    packed = aligned_zeros((kp // width, *taps, c, width))
    sweep = outer(c, k, *taps, halo.shape[2] * c, stride, q * kp, q)
    sweep(
        halo.reshape(-1), 0, halo.shape[1] * halo.shape[2] * c, dy.reshape(-1), 0, p * q * kp, packed.reshape(-1), n, p
    )
    dw = np.empty((k, c, *taps), np.float32)
    unpack(packed, dw)
    return dw


@dataclass(frozen=True, slots=True)
class TapClass:
    """The pixels with one remainder along an axis, and the taps that reach them."""

    first: int  #: smallest tap of the class
    taps: int  #: how many
    start: int  #: position in dy that the first pixel's first (= largest) tap sees; may lie in the frame
    count: int  #: pixels


def tap_classes(size: int, taps: int, stride: int, pad: int) -> list[TapClass]:
    """The classes of the pixels along an axis of `size` pixels, by their remainders."""
    classes = []
    for remainder in range(min(stride, size)):
        first = (remainder + pad) % stride
        number = len(range(first, taps, stride))
        newest = (remainder + pad - first) // stride
        classes.append(TapClass(first, number, newest - max(number, 1) + 1, len(range(remainder, size, stride))))
    return classes


def reach(classes: list[TapClass], outputs: int) -> tuple[int, int]:
    """How far these taps reach beyond `outputs` outputs: pixels before the first one, and behind the last one."""
    return max(0, *(-t.start for t in classes)), max(0, *(t.start + t.count + t.taps - 1 - outputs for t in classes))
