"""One image through the line kernels of codegen/lines.py. Arguments in capitals are literals. `mode`: the shortcut."""

from __future__ import annotations

from numba import literally

from dptrain.kernels.codegen.lines import ADD, NONE, apply_line, gradient_line, mask_line, moments_line, spread_line
from dptrain.kernels.compiled import kernel
from dptrain.types import F32, F64, U8

PLAIN, IDENTITY, HALVING = 0, 1, 2  #: modes: no shortcut; the block's inputs; their half (nn/resnet.py)


@kernel
def standardise(x: U8, i: int, table: F32, a: F32, row: int) -> None:
    """Image i of x (n, h, w, c) into the frame of a, whose rows have `row` elements. table: see ends.pixel_values."""
    _, h, w, channels = x.shape
    for p in range(h):
        at = (p + 1) * row + channels
        for q in range(w):
            for c in range(channels):
                a[at] = table[c, x[i, p, q, c]]
                at += 1


@kernel
def apply(
    mode: int, z: F32, z_at: int, norm: F32, s: F32, s_at: int, a: F32, a_at: int,
    rows: int, C: int, LINE: int, WIDTH: int, ZROW: int, AROW: int,
) -> None:  # fmt: skip
    """a = max(BatchNorm(z), 0); with mode IDENTITY max(BatchNorm(z) + s, 0), where s lies in memory like a."""
    literally(C), literally(LINE), literally(WIDTH), literally(ZROW), literally(AROW)
    for c in range(0, C, LINE):
        if mode == IDENTITY:
            apply_line(z, z_at + c, norm, c, s, s_at + c, a, a_at + c, rows, C, LINE, ADD, WIDTH, ZROW, AROW, C, AROW)
        else:
            apply_line(z, z_at + c, norm, c, s, s_at, a, a_at + c, rows, C, LINE, NONE, WIDTH, ZROW, AROW, C, AROW)


@kernel
def apply_halving(
    z: F32, z_at: int, norm: F32, s: F32, s_at: int, a: F32, a_at: int,
    rows: int, C: int, LINE: int, WIDTH: int, ZROW: int, AROW: int, SROW: int, KIND: int,
) -> None:  # fmt: skip
    """`apply` with a halving shortcut: s has C / 2 channels, added to the middle ones. SROW: two rows of s."""
    literally(C), literally(LINE), literally(WIDTH), literally(ZROW), literally(AROW), literally(SROW), literally(KIND)
    quarter = C // 4
    for side in (0, 3 * quarter):
        for c in range(side, side + quarter, LINE):
            apply_line(z, z_at + c, norm, c, s, s_at, a, a_at + c, rows, C, LINE, NONE, WIDTH, ZROW, AROW, C, AROW)
    for c in range(quarter, 3 * quarter, LINE):
        s_line = s_at + c - quarter
        apply_line(z, z_at + c, norm, c, s, s_line, a, a_at + c, rows, C, LINE, KIND, WIDTH, ZROW, SROW, C, AROW)


@kernel
def moments(z: F32, z_at: int, norm: F32, total: F64, rows: int, C: int, LINE: int, WIDTH: int, ZROW: int) -> None:
    """total (2, C) += sums of the distances from a guess of the mean, and of their squares, over an image."""
    literally(C), literally(LINE), literally(WIDTH), literally(ZROW)
    for c in range(0, C, LINE):
        moments_line(z, z_at + c, norm, c, total, c, rows, C, LINE, WIDTH, ZROW)


@kernel
def gradient(
    g: F32, z: F32, z_at: int, norm: F32, dz: F32, d_at: int,
    rows: int, C: int, LINE: int, WIDTH: int, ZROW: int, DROW: int,
) -> None:  # fmt: skip
    """dz = the gradient before BatchNorm, from the gradient g behind it."""
    literally(C), literally(LINE), literally(WIDTH), literally(ZROW), literally(DROW)
    for c in range(0, C, LINE):
        gradient_line(g, z_at + c, z, z_at + c, norm, c, dz, d_at + c, rows, C, LINE, WIDTH, ZROW, DROW)


@kernel
def mask(
    mode: int, da: F32, da_at: int, a: F32, a_at: int, z: F32, g: F32, z_at: int, norm: F32, total: F64,
    rows: int, C: int, LINE: int, WIDTH: int, ZROW: int, AROW: int,
) -> None:  # fmt: skip
    """g = da where a > 0, else 0 (mode IDENTITY: da + g). total (2, C) += the sums that BatchNorm's gradient needs."""
    literally(C), literally(LINE), literally(WIDTH), literally(ZROW), literally(AROW)
    for c in range(0, C, LINE):
        if mode == IDENTITY:
            mask_line(
                da, da_at + c, a, a_at + c, z, z_at + c, norm, c, g, z_at + c, total, c,
                rows, C, LINE, ADD, WIDTH, ZROW, AROW,
            )  # fmt: skip
        else:
            mask_line(
                da, da_at + c, a, a_at + c, z, z_at + c, norm, c, g, z_at + c, total, c,
                rows, C, LINE, NONE, WIDTH, ZROW, AROW,
            )  # fmt: skip


@kernel
def spread(
    g: F32, g_at: int, da: F32, da_at: int, rows: int, C: int, LINE: int, KIND: int, WIDTH: int, GROW: int, DROW: int
) -> None:
    """da (C channels) += the gradient through a halving shortcut, from g (2 C channels, rows x WIDTH pixels)."""
    literally(C), literally(LINE), literally(KIND), literally(WIDTH), literally(GROW), literally(DROW)
    for c in range(0, C, LINE):
        spread_line(g, g_at + C // 2 + c, da, da_at + c, rows, LINE, KIND, WIDTH, GROW, DROW, C)
