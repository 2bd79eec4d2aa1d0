"""Pooling, means over images and halving shortcuts, bound to kernels/fused/windows.py."""

from __future__ import annotations

import numpy as np

from dptrain.engine.calls import Call, Context
from dptrain.engine.lines import Line
from dptrain.kernels.compiled import aligned_zeros
from dptrain.kernels.fused import windows
from dptrain.kernels.pool import Window
from dptrain.nn.layer import Layer, pair
from dptrain.nn.pooling import AveragePooling, MaxPooling
from dptrain.nn.resnet import AveragePool, Subsample
from dptrain.types import I64


def _window(b: Context, layer: Layer, number: int) -> I64:
    h, w, c = b.values[number].shape
    if isinstance(layer, MaxPooling | AveragePooling):
        window = Window(pair(layer.size), pair(layer.stride or layer.size), pair(layer.pad), layer.ceil)
        counts = isinstance(layer, AveragePooling) and layer.count_pad
        return np.array([*window.size, *window.stride, *window.pad, counts, h, w, c], np.int64)
    return np.array([2, 2, 2, 2, 0, 0, 0, h, w, c], np.int64)


def _small(b: Context, y: int, *operands: int) -> I64:
    """Operands, with the rows of value y."""
    h, w, c = b.values[y].shape
    return b.memory.operands(h, w * c, *operands)


def maximum(b: Context, line: Line) -> Call:
    """The largest pixel of each window."""
    (x,), (y, place) = line.reads, line.writes
    xa, ya, pa = b.array(x), b.array(y), b.memory.bytes[place]
    p, w = _small(b, y, x, y, place), _window(b, line.layers[0], x)
    return Call(line, lambda f, n: windows.maximum(xa, ya, pa, p, w, f, n))


def maximum_back(b: Context, line: Line) -> Call:
    """The gradient goes to the largest pixels."""
    (dy, place), (dx,) = line.reads, line.writes
    xa, ya, pa = b.array(dx), b.array(dy), b.memory.bytes[place]
    p, w = _small(b, dy, dx, dy, place), _window(b, line.layers[0], dx)
    return Call(line, lambda f, n: windows.maximum_gradient(xa, ya, pa, p, w, f, n))


def average(b: Context, line: Line) -> Call:
    """The mean of each window."""
    (x,), (y,) = line.reads, line.writes
    xa, ya, p, w = b.array(x), b.array(y), _small(b, y, x, y), _window(b, line.layers[0], x)
    return Call(line, lambda f, n: windows.average(xa, ya, p, w, f, n))


def average_back(b: Context, line: Line) -> Call:
    """The gradient, divided among the pixels of a window."""
    (dy,), (dx,) = line.reads, line.writes
    xa, ya, p, w = b.array(dx), b.array(dy), _small(b, dy, dx, dy), _window(b, line.layers[0], dx)
    return Call(line, lambda f, n: windows.average_gradient(xa, ya, p, w, f, n))


def mean(b: Context, line: Line) -> Call:
    """The mean over all pixels."""
    (x,), (y,) = line.reads, line.writes
    chains = aligned_zeros((4 * b.values[x].channels,))
    h, w, c = b.values[x].shape
    xa, ya, p = b.array(x), b.array(y), b.memory.operands(h, w * c, x, y)
    return Call(line, lambda f, n: windows.image_mean(xa, ya, chains, p, f, n))


def mean_back(b: Context, line: Line) -> Call:
    """The gradient, divided among all pixels."""
    (dy,), (dx,) = line.reads, line.writes
    c, xa, ya, p = b.values[dx].channels, b.array(dx), b.array(dy), _small(b, dx, dx, dy)
    return Call(line, lambda f, n: windows.image_mean_gradient(xa, ya, c, p, f, n))


def halve(b: Context, line: Line) -> Call:
    """A halving shortcut."""
    (x,), (y,) = line.reads, line.writes
    before, mean = _halving(line.layers[0], b.values[x].channels)
    xa, ya, p, w = b.array(x), b.array(y), _small(b, y, x, y), _window(b, line.layers[0], x)
    return Call(line, lambda f, n: windows.halved(xa, ya, p, w, before, mean, f, n))


def halve_back(b: Context, line: Line) -> Call:
    """The gradient through a halving shortcut."""
    (dy,), (dx,) = line.reads, line.writes
    before, mean = _halving(line.layers[0], b.values[dx].channels)
    xa, ya, p, w = b.array(dx), b.array(dy), _small(b, dy, dx, dy), _window(b, line.layers[0], dx)
    return Call(line, lambda f, n: windows.halved_gradient(xa, ya, p, w, before, mean, f, n))


def _halving(layer: Layer, c: int) -> tuple[int, bool]:
    """(zero channels in front, whether it takes means)."""
    assert isinstance(layer, Subsample | AveragePool)
    return 0 if layer.at_end else c // 2, isinstance(layer, AveragePool)
