"""Convolutions and their gradients, bound to the sweeps of kernels/conv.py and kernels/winograd.py."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dptrain.engine.calls import Call, Context
from dptrain.engine.lines import Line
from dptrain.engine.memory import Place
from dptrain.kernels import conv, winograd
from dptrain.kernels.codegen import registers
from dptrain.kernels.compiled import aligned_empty, aligned_zeros
from dptrain.nn.convolution import Convolution
from dptrain.nn.layer import pair
from dptrain.types import F32

_NOTHING: F32 = np.zeros(0, np.float32)


class ConvolutionWeights:
    """The weights of one convolution as the passes read them, for both directions, and the sums of its gradient."""

    def __init__(self, layer: Convolution, at: int, tile: int, image: tuple[int, int]) -> None:
        c, k, taps = layer.inputs, layer.outputs, pair(layer.taps)
        self._shape, self._at, self._tile = (k, c, *taps), at, tile
        width = registers.lanes(k)
        stride, pad = pair(layer.stride)[0], pair(layer.pad)[0]
        self._stride = stride
        self.classes: list[tuple[conv.TapClass, conv.TapClass, int, int, F32]] = []
        if tile:
            self.forward = aligned_empty((winograd.positions(tile), k // width, c, width))
            lanes = registers.lanes(c)
            self.backward = aligned_empty((winograd.positions(tile), c // lanes, k, lanes))
        else:
            self.forward, self.backward = aligned_empty((k // width, *taps, c, width)), _NOTHING
            down = conv.tap_classes(image[0], taps[0], stride, pad)
            across = conv.tap_classes(image[1], taps[1], stride, pad)
            if c % 8 == 0:
                lanes = registers.lanes(c)
                self.classes = [
                    (r, s, i, j, aligned_empty((c // lanes, r.taps, s.taps, k, lanes)))
                    for i, r in enumerate(down)
                    for j, s in enumerate(across)
                ]
        self.sums = aligned_zeros(self.forward.shape)

    def pack(self, params: F32) -> None:
        """Reads the weights out of the flat parameters."""
        weights = params[self._at : self._at + int(np.prod(self._shape))].reshape(self._shape)
        if self._tile:
            winograd.transform_weights(weights, self.forward, flip=False)
            winograd.transform_weights(weights, self.backward, flip=True)
            return
        conv.pack(weights, self.forward, 0, 0, 1, flip=False)
        for r, s, _, _, packed in self.classes:
            if r.taps and s.taps:
                conv.pack(weights, packed, r.first, s.first, self._stride, flip=True)

    def unpack(self, gradient: F32) -> None:
        """Writes the weight gradient into the flat gradient, from the sums."""
        out = gradient[self._at : self._at + int(np.prod(self._shape))].reshape(self._shape)
        if self._tile:
            winograd.weights_from_sums(self.sums, out)
        else:
            conv.unpack(self.sums, out)


def _convolution(b: Context, line: Line, image: tuple[int, ...]) -> tuple[Convolution, ConvolutionWeights]:
    layer = line.layers[0]
    assert isinstance(layer, Convolution)
    found = b.packed.get(layer.name)
    if not isinstance(found, ConvolutionWeights):
        found = ConvolutionWeights(layer, b.params[f"{layer.name}.weight"], line.tile, (image[0], image[1]))
        b.packed[layer.name] = found
    return layer, found


def convolve(b: Context, line: Line) -> Call:
    """A convolution, by tiles or directly."""
    x, y = b.memory.places[line.reads[0]], b.memory.places[line.writes[0]]
    layer, packed = _convolution(b, line, x.value.shape)
    c, k, stride, pad = layer.inputs, layer.outputs, pair(layer.stride)[0], pair(layer.pad)[0]
    u = packed.forward.reshape(-1)
    if line.tile:
        return Call(line, _tiled(b, line.tile, x, u, y))
    p, q, _ = y.value.shape
    corner, y_at = x.value.at - pad * (x.value.row + c), y.value.at
    sweep = conv.correlate(c, k, *pair(layer.taps), x.value.row, stride * c, k, q)

    def run(first: int, count: int) -> None:
        sweep(
            x.array, corner + x.start(first), x.value.size, stride * x.value.row, u,
            y.array, y_at + y.start(first), y.value.size, y.value.row, count, p,
        )  # fmt: skip

    return Call(line, run)


def _tiled(b: Context, tile: int, x: Place, u: F32, y: Place) -> Callable[[int, int], None]:
    """A convolution of x, in a frame of at least one pixel, to y; u: the transformed weights."""
    c, k = x.value.channels, y.value.channels
    sweep = winograd.tiled(tile, c, k, x.value.row, y.value.row)
    corner, y_at = x.value.at - x.value.row - c, y.value.at
    down, across = -(-y.value.shape[0] // tile), -(-y.value.shape[1] // tile)
    v, m = b.scratch(c, tile, 0), b.scratch(k, tile, 1)

    def run(first: int, count: int) -> None:
        sweep(
            x.array[corner + x.start(first) :], x.value.size, u, y.array[y_at + y.start(first) :], y.value.size,
            count, down, across, v, m,
        )  # fmt: skip

    return run


def weights(b: Context, line: Line) -> Call:
    """The gradient of a convolution's weights."""
    x, dz = (b.memory.places[v] for v in line.reads)
    layer, packed = _convolution(b, line, x.value.shape)
    c, k, stride, pad = layer.inputs, layer.outputs, pair(layer.stride)[0], pair(layer.pad)[0]
    p, q, _ = dz.value.shape
    sums, shard = packed.sums.reshape(-1), b.shard
    corner, d_at = x.value.at - pad * (x.value.row + c), dz.value.at

    def end(_: int) -> None:
        packed.unpack(shard.gradient)

    if line.tile:
        tile, v, d = line.tile, b.scratch(c, line.tile, 0), b.scratch(k, line.tile, 1)
        tiled = winograd.tiled_sums(tile, c, k, x.value.row, dz.value.row)

        def add_tiles(first: int, count: int) -> None:
            tiled(
                x.array[corner + x.start(first) :], x.value.size, dz.array[d_at + dz.start(first) :], dz.value.size,
                sums, count, -(-p // tile), -(-q // tile), v, d,
            )  # fmt: skip

        return Call(line, add_tiles, lambda: sums.fill(0), end)
    direct = conv.outer(c, k, *pair(layer.taps), x.value.row, stride, dz.value.row, q)

    def add(first: int, count: int) -> None:
        direct(
            x.array, corner + x.start(first), x.value.size, dz.array, d_at + dz.start(first), dz.value.size,
            sums, count, p,
        )  # fmt: skip

    return Call(line, add, lambda: sums.fill(0), end)


def inputs(b: Context, line: Line) -> Call:
    """The gradient of a convolution's inputs."""
    dz, dx = b.memory.places[line.reads[0]], b.memory.places[line.writes[0]]
    layer, packed = _convolution(b, line, dx.value.shape)
    c, k, stride = layer.inputs, layer.outputs, pair(layer.stride)[0]
    if line.tile:
        return Call(line, _tiled(b, line.tile, dz, packed.backward.reshape(-1), dx))
    parts = []
    for r, s, i, j, taps in packed.classes:
        if r.taps and s.taps:  # else no tap reaches these pixels: a 1 x 1 convolution with stride 2
            sweep = conv.correlate(k, c, r.taps, s.taps, dz.value.row, k, stride * c, s.count)
            d_at = dz.value.at + r.start * dz.value.row + s.start * k
            parts.append((sweep, d_at, taps.reshape(-1), dx.value.at + i * dx.value.row + j * c, r.count))
    full, size = len(parts) == len(packed.classes), dx.value.size

    def run(first: int, count: int) -> None:
        at, d_first = dx.start(first), dz.start(first)
        if not full:
            dx.array[at : at + count * size] = 0
        for sweep, d_at, taps, part_at, number in parts:
            sweep(
                dz.array, d_at + d_first, dz.value.size, dz.value.row, taps,
                dx.array, part_at + at, size, stride * dx.value.row, count, number,
            )  # fmt: skip

    return Call(line, run)
