"""Elementwise passes over rows of pixels, and sums over them, for activations that lie anywhere in memory.

Every operand is an array and four numbers of `p`: its first element, the elements between the groups of images, between
images and between rows. So one compiled loop serves all shapes, and an operand may lie in a frame. `p` begins with the
number of rows and with the elements of a row; its operands follow, four numbers each. Numbers per channel are repeated
along a row, so that every inner loop is one line of additions or products.

Each value is computed as in kernels/norm.py, activation.py and pool.py, in the same order of additions and with the
same roundings: the bits are those of the layers.
"""

from __future__ import annotations

import numpy as np

from dptrain.kernels.compiled import kernel
from dptrain.types import F32, F64, I64, U8

ROWS, LENGTH, FIRST = 0, 1, 2  #: places in p: the numbers of operand k begin at FIRST + 4 k


@kernel
def _at(p: I64, operand: int, first: int, i: int) -> int:
    """First element of image i of the group that begins with image `first`."""
    k = FIRST + 4 * operand
    return p[k] + first * p[k + 1] + i * p[k + 2]  # type: ignore[no-any-return]  # int in Numba


@kernel
def _step(p: I64, operand: int) -> int:
    """Elements between rows."""
    return p[FIRST + 4 * operand + 3]  # type: ignore[no-any-return]  # int in Numba


@kernel
def standardise(x: U8, mean: F32, std: F32, y: F32, p: I64, first: int, count: int) -> None:
    """y = (x - mean) / std. Operands: x, mean (per pixel), y; std: per pixel of a row."""
    length = p[LENGTH]
    for i in range(count):
        a, b, c = _at(p, 0, first, i), _at(p, 1, first, i), _at(p, 2, first, i)
        for _ in range(p[ROWS]):
            xs, means, ys = x[a : a + length], mean[b : b + length], y[c : c + length]
            for e in range(length):
                ys[e] = (np.float32(xs[e]) - means[e]) / std[e]
            a, b, c = a + _step(p, 0), b + _step(p, 1), c + _step(p, 2)


@kernel
def normalise(
    z: F32, scale: F32, shift: F32, s: F32, y: F32, p: I64, add: bool, relu: bool, first: int, count: int
) -> None:
    """y = z * scale + shift, plus s if `add`, then max(., 0) if `relu`. Operands: z, s, y."""
    length = p[LENGTH]
    for i in range(count):
        a, b, c = _at(p, 0, first, i), _at(p, 1, first, i), _at(p, 2, first, i)
        for _ in range(p[ROWS]):
            zs, ss, ys = z[a : a + length], s[b : b + length], y[c : c + length]
            if add and relu:
                for e in range(length):
                    v = (zs[e] * scale[e] + shift[e]) + ss[e]
                    ys[e] = np.float32(0) if v <= 0 else v
            elif relu:
                for e in range(length):
                    v = zs[e] * scale[e] + shift[e]
                    ys[e] = np.float32(0) if v <= 0 else v
            elif add:
                for e in range(length):
                    ys[e] = (zs[e] * scale[e] + shift[e]) + ss[e]
            else:
                for e in range(length):
                    ys[e] = zs[e] * scale[e] + shift[e]
            a, b, c = a + _step(p, 0), b + _step(p, 1), c + _step(p, 2)


@kernel
def shifted(z: F32, shift: F32, s: F32, y: F32, p: I64, add: bool, relu: bool, first: int, count: int) -> None:
    """As `normalise` without a scale: y = z + shift. An empty shift is 0 everywhere."""
    length = p[LENGTH]
    for i in range(count):
        a, b, c = _at(p, 0, first, i), _at(p, 1, first, i), _at(p, 2, first, i)
        for _ in range(p[ROWS]):
            zs, ss, ys = z[a : a + length], s[b : b + length], y[c : c + length]
            if len(shift):
                for e in range(length):
                    ys[e] = zs[e] + shift[e]
            else:
                for e in range(length):
                    ys[e] = zs[e]
            if add:
                for e in range(length):
                    ys[e] = ys[e] + ss[e]
            if relu:
                for e in range(length):
                    ys[e] = np.float32(0) if ys[e] <= 0 else ys[e]
            a, b, c = a + _step(p, 0), b + _step(p, 1), c + _step(p, 2)


@kernel
def _mask(da: F32, db: F32, y: F32, g: F32, add: bool, relu: bool) -> None:
    """A row: g = da, plus db if `add`; then 0 where y <= 0 if `relu`."""
    if add and relu:
        for e in range(len(g)):
            v = da[e] + db[e]
            g[e] = np.float32(0) if y[e] <= 0 else v
    elif relu:
        for e in range(len(g)):
            g[e] = np.float32(0) if y[e] <= 0 else da[e]
    elif add:
        for e in range(len(g)):
            g[e] = da[e] + db[e]
    else:
        for e in range(len(g)):
            g[e] = da[e]


@kernel
def masked(da: F32, db: F32, y: F32, g: F32, p: I64, add: bool, relu: bool, first: int, count: int) -> None:
    """g = da, plus db if `add`; then 0 where y <= 0 if `relu`. Operands: da, db, y, g."""
    n = p[LENGTH]
    for i in range(count):
        a, b, c, d = _at(p, 0, first, i), _at(p, 1, first, i), _at(p, 2, first, i), _at(p, 3, first, i)
        for _ in range(p[ROWS]):
            _mask(da[a : a + n], db[b : b + n], y[c : c + n], g[d : d + n], add, relu)
            a, b, c, d = a + _step(p, 0), b + _step(p, 1), c + _step(p, 2), d + _step(p, 3)


@kernel
def norm_gradient(g: F32, z: F32, rows: F32, dz: F32, p: I64, first: int, count: int) -> None:
    """dz = scale * ((g - a) - (z - mean) * b); `rows` (4, length): mean, scale, a, b. Operands: g, z, dz."""
    length = p[LENGTH]
    mean, scale, average, slope = rows[0], rows[1], rows[2], rows[3]
    for i in range(count):
        a, b, c = _at(p, 0, first, i), _at(p, 1, first, i), _at(p, 2, first, i)
        for _ in range(p[ROWS]):
            gs, zs, ds = g[a : a + length], z[b : b + length], dz[c : c + length]
            for e in range(length):
                ds[e] = scale[e] * ((gs[e] - average[e]) - (zs[e] - mean[e]) * slope[e])
            a, b, c = a + _step(p, 0), b + _step(p, 1), c + _step(p, 2)


# --- sums per channel: chain j of four adds the pixels j, j + 4, ... of an image (kernels/norm.py)


@kernel
def _joined(chains: F32, total: F64) -> None:
    """total (c,) += the joined chains (4, c) of an image."""
    c = len(total)
    for j in range(c):
        total[j] += np.float64((chains[j] + chains[c + j]) + (chains[2 * c + j] + chains[3 * c + j]))


@kernel
def _add(x: F32, chains: F32, k: int) -> int:
    """chains[k:] += x, going round at the end of the chains; returns where the next row begins."""
    e = 0
    while e < len(x):
        n = min(len(chains) - k, len(x) - e)
        xs, cs = x[e : e + n], chains[k : k + n]
        for j in range(n):
            cs[j] += xs[j]
        e, k = e + n, (k + n) % len(chains)
    return k


@kernel
def add_sums(x: F32, chains: F32, total: F64, p: I64, first: int, count: int) -> None:
    """total (c,) += sums of x over its images. chains: scratch (4 c,). Operand: x."""
    length = p[LENGTH]
    for i in range(count):
        a, k = _at(p, 0, first, i), 0
        chains[:] = 0
        for _ in range(p[ROWS]):
            k = _add(x[a : a + length], chains, k)
            a += _step(p, 0)
        _joined(chains, total)


@kernel
def add_squares(x: F32, mean: F32, chains: F32, total: F64, p: I64, first: int, count: int) -> None:
    """total (c,) += sums of (x - mean) squared. mean: four times (c,). Operand: x."""
    length = p[LENGTH]
    for i in range(count):
        a, k = _at(p, 0, first, i), 0
        chains[:] = 0
        for _ in range(p[ROWS]):
            e = 0
            while e < length:
                n = min(len(chains) - k, length - e)
                xs, cs, ms = x[a + e : a + e + n], chains[k : k + n], mean[k : k + n]
                for j in range(n):
                    d = xs[j] - ms[j]
                    cs[j] += d * d
                e, k = e + n, (k + n) % len(chains)
            a += _step(p, 0)
        _joined(chains, total)


@kernel
def _add_products(g: F32, z: F32, mean: F32, chains: F32, products: F32, k: int) -> int:
    """A row: chains[k:] += g, products[k:] += g * (z - mean); returns where the next row begins."""
    e = 0
    while e < len(g):
        n = min(len(chains) - k, len(g) - e)
        gs, zs, ms = g[e : e + n], z[e : e + n], mean[k : k + n]
        cs, ps = chains[k : k + n], products[k : k + n]
        for j in range(n):
            cs[j] += gs[j]
            ps[j] += gs[j] * (zs[j] - ms[j])
        e, k = e + n, (k + n) % len(chains)
    return k


@kernel
def add_products(
    g: F32, z: F32, mean: F32, chains: F32, products: F32, total: F64, weighted: F64, p: I64, first: int, count: int
) -> None:  # fmt: skip
    """total (c,) += sums of g, weighted (c,) += sums of g * (z - mean). mean: four times (c,). Operands: g, z."""
    n = p[LENGTH]
    for i in range(count):
        a, b, k = _at(p, 0, first, i), _at(p, 1, first, i), 0
        chains[:] = 0
        products[:] = 0
        for _ in range(p[ROWS]):
            k = _add_products(g[a : a + n], z[b : b + n], mean, chains, products, k)
            a, b = a + _step(p, 0), b + _step(p, 1)
        _joined(chains, total)
        _joined(products, weighted)


@kernel
def masked_products(
    da: F32, db: F32, y: F32, g: F32, z: F32, mean: F32, chains: F32, products: F32, total: F64, weighted: F64,
    p: I64, add: bool, relu: bool, first: int, count: int,
) -> None:  # fmt: skip
    """`masked`, then `add_products` of g and z, row by row. Operands: da, db, y, g, z."""
    n = p[LENGTH]
    for i in range(count):
        a, b, c, d = _at(p, 0, first, i), _at(p, 1, first, i), _at(p, 2, first, i), _at(p, 3, first, i)
        z_at, k = _at(p, 4, first, i), 0
        chains[:] = 0
        products[:] = 0
        for _ in range(p[ROWS]):
            gs = g[d : d + n]
            _mask(da[a : a + n], db[b : b + n], y[c : c + n], gs, add, relu)
            k = _add_products(gs, z[z_at : z_at + n], mean, chains, products, k)
            a, b, c, d = a + _step(p, 0), b + _step(p, 1), c + _step(p, 2), d + _step(p, 3)
            z_at += _step(p, 4)
        _joined(chains, total)
        _joined(products, weighted)
