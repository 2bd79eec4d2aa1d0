"""From the tree of a network to the lines of its plan.

Lowering goes through the tree as a forward pass does: each layer adds its lines and returns a function that adds those
of its backward pass. What can wait, waits: the scale and shift of a BatchNorm, a residual addition and a ReLU become
one line where their result is first read, and the two gradients that meet at a fork are added in the line that reads
them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TypeAlias, cast

import numpy as np

from dptrain.engine.geometry import geometry_of
from dptrain.engine.lines import Line, Lines, Op, Value, segments
from dptrain.engine.plan import Plan
from dptrain.kernels.pool import Window
from dptrain.model import ParamLayout
from dptrain.nn.activations import ReLU
from dptrain.nn.containers import Residual, Sequential
from dptrain.nn.convolution import Convolution
from dptrain.nn.initialise import initial_buffers, initial_params
from dptrain.nn.layer import Layer, Run, Signal, pair
from dptrain.nn.network import Network
from dptrain.nn.norm import BatchNorm
from dptrain.nn.pooling import AveragePooling, GlobalAverage, MaxPooling
from dptrain.nn.resnet import AveragePool, Identity, Subsample

#: A gradient: no value (the pixels need none), one, or two whose sum it is.
Gradient: TypeAlias = tuple[int, ...]
Back: TypeAlias = Callable[[Gradient], Gradient]


@dataclass
class Waiting:
    """A signal between layers: value z, and what has still to be done with it. Once done, `made` is the result."""

    z: int
    affine: Layer | None = None  #: a BatchNorm, or a convolution with a bias
    numbers: tuple[int, ...] = ()  #: that it reads
    add: int | None = None
    relu: bool = False
    layers: tuple[Layer, ...] = ()  #: of dptrain.nn, to be run on z
    blank: Signal = None  #: what they make of two blank images
    made: int | None = None
    key: int = 0

    @property
    def plain(self) -> bool:
        """Whether there is nothing to do."""
        return self.affine is None and self.add is None and not self.relu and not self.layers


@dataclass
class Lowering:
    """The lines and values so far."""

    tile: int  #: of Winograd's algorithm, at most
    forward: list[Line] = field(default_factory=list)
    backward: list[Line] = field(default_factory=list)
    values: list[Value] = field(default_factory=list)
    frames: list[list[int]] = field(default_factory=list)  #: of every value: pixels above, left, below and right
    remade: dict[int, int] = field(default_factory=dict)  #: values that the backward pass makes again
    keys: int = 0

    def network(self, network: Network, chain: Plan | None) -> Lines:
        """The plan of a whole network. chain: that of its first layers."""
        image, layers = network.image, network.network
        first = self.new((image.height, image.width, image.channels))
        if chain is None:
            self.forward.append(Line(Op.PIXELS, (), (first,)))
        else:
            assert isinstance(layers, Sequential)
            first, layers = (
                self.new((chain.convolutions[-1].outputs.channels,)),
                Sequential(layers.layers[chain.layers :]),
            )
            self.forward.append(Line(Op.CHAIN, (), (first,)))
        signal, back = self.layer(layers, Waiting(first, made=first))
        scores = self.made(signal)
        dscores = self.new(self.values[scores].shape)
        through = back((dscores,))
        if chain is not None:
            self.backward.append(Line(Op.CHAIN_BACK, (self.one(through),), ()))
        values = tuple(map(_placed, self.values, self.frames))
        return Lines(values, segments(self.forward, values), segments(self.backward, values), scores, dscores, chain)

    def new(self, shape: tuple[int, ...], *, spills: int = 0, size: int = 4) -> int:
        """The number of a new value."""
        self.values.append(Value(shape, spills=spills, bytes=size))
        self.frames.append([0, 0, 0, 0])
        return len(self.values) - 1

    def made(self, x: Waiting) -> int:
        """The value of a signal; adds the line that makes it, unless it is made already."""
        if x.made is None and x.layers:
            x.made = self.new(x.blank.shape[1:])
            self.forward.append(Line(Op.LAYERS, (x.z,), (x.made,), x.layers, key=x.key))
        elif x.made is None and x.plain:
            x.made = x.z
        elif x.made is None:
            x.made = self.new(self.values[x.z].shape)
            added = () if x.add is None else (x.add,)
            layers = () if x.affine is None else (x.affine,)
            reads = (x.z, *added, *x.numbers)
            self.forward.append(Line(Op.APPLY, reads, (x.made,), layers, add=bool(added), relu=x.relu))
        return x.made

    def frame(self, value: int, around: tuple[int, int, int, int], lines: list[Line]) -> int:
        """The value with at least so many zero pixels around it (above, left, below, right): itself, or a copy."""
        if self.values[value].spills and any(around):
            copy = self.new(self.values[value].shape)
            lines.append(Line(Op.APPLY, (value,), (copy,)))
            value = copy
        self.frames[value] = [max(a, b) for a, b in zip(self.frames[value], around, strict=True)]
        return value

    def again(self, value: int) -> int:
        """The value for the backward pass: made again if that takes one line and one operand, so it need not be kept.

        Its operand is read there anyway, and the group of images in the caches is all that there is of it.
        """
        if value in self.remade:
            return self.remade[value]
        line = next((line for line in self.forward if value in line.writes), None)
        if line is None or line.op != Op.APPLY or line.add:
            return value
        self.remade[value] = copy = self.new(self.values[value].shape)
        self.backward.append(replace(line, writes=(copy,)))
        return copy

    def one(self, dy: Gradient) -> int:
        """The value of a gradient; adds a line if it is a sum of two."""
        if len(dy) == 1:
            return dy[0]
        total = self.new(self.values[dy[0]].shape)
        self.backward.append(Line(Op.MASK, dy, (total,), add=True))
        return total

    # --- layers

    def layer(self, layer: Layer, x: Waiting) -> tuple[Waiting, Back]:
        """Adds the lines of a layer. Only these very classes are known: a subclass may compute something else."""
        known = _KNOWN.get(type(layer))
        if known is None or (type(layer) is not Sequential and not self._image(x)):
            return self.unknown(layer, x)
        return known(self, layer, x) or self.unknown(layer, x)

    def _image(self, x: Waiting) -> bool:
        """Whether a signal is of images (height, width, channels)."""
        shape = getattr(x.blank, "shape", ())[1:] if x.layers else self.values[x.z].shape
        return len(shape) == 3

    def unknown(self, layer: Layer, x: Waiting) -> tuple[Waiting, Back]:
        """A layer that dptrain.nn runs. Neighbours of this kind share a line; the first one adds its backward pass."""
        if x.layers and x.made is None:
            x.layers, x.blank = (*x.layers, layer), _made_of(layer, x.blank)
            return x, lambda dy: dy
        self.keys += 1
        z = self.made(x)
        y = Waiting(z, layers=(layer,), blank=_made_of(layer, np.zeros((2, *self.values[z].shape))), key=self.keys)

        def back(dy: Gradient) -> Gradient:
            dx = () if z == 0 else (self.new(self.values[z].shape),)
            # The layers may still hold their input: it is read here, too.
            self.backward.append(Line(Op.LAYERS_BACK, (self.one(dy), z), dx, y.layers, key=y.key))
            return dx

        return y, back

    def sequential(self, layer: Sequential, x: Waiting) -> tuple[Waiting, Back]:
        """One layer after another."""
        backs: list[Back] = []
        for inner in layer.layers:
            x, back = self.layer(inner, x)
            backs.append(back)

        def backward(dy: Gradient) -> Gradient:
            for back in reversed(backs):
                dy = back(dy)
            return dy

        return x, backward

    def residual(self, layer: Residual, x: Waiting) -> tuple[Waiting, Back]:
        """The branch; the addition of the shortcut waits for the line that makes the branch's result."""
        z = self.made(x)
        branch, branch_back = self.layer(layer.branch, Waiting(z, made=z))
        shortcut, shortcut_back = self.layer(layer.shortcut, Waiting(z, made=z))
        carried = self.made(shortcut)
        if branch.made is not None or branch.layers or branch.add is not None or branch.relu:
            branch = Waiting(self.made(branch))
        y = replace(branch, add=carried)

        def back(dy: Gradient) -> Gradient:
            g = (self.one(dy),)
            through = branch_back(g)
            around = shortcut_back(g)
            if not through or not around:
                return ()
            return (self.one(through), self.one(around))

        return y, back

    def identity(self, layer: Identity, x: Waiting) -> tuple[Waiting, Back]:
        """Nothing."""
        return x, lambda dy: dy

    def relu(self, layer: ReLU, x: Waiting) -> tuple[Waiting, Back]:
        """Waits."""
        if x.relu or x.layers or x.made is not None:
            z = self.made(x)
            x = Waiting(z)
        y = replace(x, relu=True)

        def back(dy: Gradient) -> Gradient:
            if not dy:
                return ()
            g = self.new(self.values[y.z].shape)
            made = self.again(self.made(y))
            self.backward.append(Line(Op.MASK, (*dy, made), (g,), add=len(dy) == 2, relu=True))
            return (g,)

        return y, back

    def norm(self, layer: BatchNorm, x: Waiting) -> tuple[Waiting, Back]:
        """Two sums; scale and shift wait."""
        z = self.made(x)
        mean, scale = self.new(()), self.new(())
        self.forward.append(Line(Op.SUM, (z,), (mean,), (layer,)))
        self.forward.append(Line(Op.SQUARES, (z, mean), (scale,), (layer,)))

        def back(dy: Gradient) -> Gradient:
            g, slope, dz = self.one(dy), self.new(()), self.new(self.values[z].shape)
            last = self.backward[-1] if self.backward else None
            if last is not None and last.op == Op.MASK and last.writes == (g,):
                self.backward[-1] = replace(last, reads=(*last.reads, z), writes=(g, slope), layers=(layer,))
            else:
                self.backward.append(Line(Op.PRODUCTS, (g, z), (slope,), (layer,)))
            self.backward.append(Line(Op.UNNORM, (g, z, slope), (dz,), (layer,)))
            return (dz,)

        return Waiting(z, affine=layer, numbers=(scale,)), back

    def convolution(self, layer: Convolution, x: Waiting) -> tuple[Waiting, Back] | None:
        """Over multiples of 8 channels, with the same stride and pad for rows and columns; a bias waits."""
        z = self.made(x)
        pixels = z == 0
        geometry = geometry_of(layer, self.values[z].shape, self.tile, pixels=pixels)
        if geometry is None:
            return None
        h, w, _ = self.values[z].shape
        z, tile = self.frame(z, geometry.inputs, self.forward), geometry.tile
        spills = tile if tile and (h % tile or w % tile) else 0
        y = self.new(geometry.outputs, spills=spills)
        self.forward.append(Line(Op.CONVOLVE, (z,), (y,), (layer,), tile=tile))

        def back(dy: Gradient) -> Gradient:
            dz = self.one(dy)
            if layer.bias:
                self.backward.append(Line(Op.BIAS, (dz,), (), (layer,)))
            around = geometry.bare if pixels else geometry.gradients
            dz = self.frame(dz, around, self.backward)
            x = self.frame(self.again(z), geometry.inputs, self.backward)
            self.backward.append(Line(Op.WEIGHTS, (x, dz), (), (layer,), tile=tile))
            if pixels:
                return ()
            dx = self.new(self.values[z].shape, spills=spills)
            self.backward.append(Line(Op.INPUTS, (dz,), (dx,), (layer,), tile=tile))
            return (dx,)

        return Waiting(y, affine=layer if layer.bias else None), back

    def maximum(self, layer: MaxPooling, x: Waiting) -> tuple[Waiting, Back] | None:
        """The largest of each window; the places are kept for the backward pass."""
        z, window = (
            self.made(x),
            Window(pair(layer.size), pair(layer.stride or layer.size), pair(layer.pad), layer.ceil),
        )
        shape = self._pooled(z, window)
        if shape is None or window.size[0] * window.size[1] > 256:
            return None
        y, place = self.new(shape), self.new(shape, size=1)
        self.forward.append(Line(Op.MAXIMUM, (z,), (y, place), (layer,)))
        return Waiting(y, made=y), lambda dy: self._back(Op.MAXIMUM_BACK, layer, z, (self.one(dy), place))

    def average(self, layer: AveragePooling, x: Waiting) -> tuple[Waiting, Back] | None:
        """The mean of each window."""
        z, window = (
            self.made(x),
            Window(pair(layer.size), pair(layer.stride or layer.size), pair(layer.pad), layer.ceil),
        )
        shape = self._pooled(z, window)
        if shape is None:
            return None
        y = self.new(shape)
        self.forward.append(Line(Op.AVERAGE, (z,), (y,), (layer,)))
        return Waiting(y, made=y), lambda dy: self._back(Op.AVERAGE_BACK, layer, z, (self.one(dy),))

    def mean(self, layer: GlobalAverage, x: Waiting) -> tuple[Waiting, Back]:
        """The mean of all pixels."""
        z = self.made(x)
        y = self.new((self.values[z].channels,))
        self.forward.append(Line(Op.MEAN, (z,), (y,), (layer,)))
        return Waiting(y, made=y), lambda dy: self._back(Op.MEAN_BACK, layer, z, (self.one(dy),))

    def halve(self, layer: Subsample | AveragePool, x: Waiting) -> tuple[Waiting, Back] | None:
        """A halving shortcut."""
        z = self.made(x)
        h, w, c = self.values[z].shape
        if isinstance(layer, AveragePool) and (h % 2 or w % 2):
            return None
        y = self.new((-(-h // 2), -(-w // 2), 2 * c))
        self.forward.append(Line(Op.HALVE, (z,), (y,), (layer,)))
        return Waiting(y, made=y), lambda dy: self._back(Op.HALVE_BACK, layer, z, (self.one(dy),))

    def _back(self, op: Op, layer: Layer, z: int, reads: tuple[int, ...]) -> Gradient:
        dx = self.new(self.values[z].shape)
        self.backward.append(Line(op, reads, (dx,), (layer,)))
        return (dx,)

    def _pooled(self, z: int, window: Window) -> tuple[int, ...] | None:
        """The shape of the outputs; None if dptrain.nn refuses such windows, or knows more about them."""
        h, w, c = self.values[z].shape
        for axis, length in enumerate((h, w)):
            if 2 * window.pad[axis] > window.size[axis] or length + 2 * window.pad[axis] < window.size[axis]:
                return None
        return (*window.outputs(h, w), c)


_KNOWN = cast(
    dict[type, Callable[[Lowering, Layer, Waiting], tuple[Waiting, Back] | None]],
    {
        Sequential: Lowering.sequential,
        Residual: Lowering.residual,
        Identity: Lowering.identity,
        ReLU: Lowering.relu,
        BatchNorm: Lowering.norm,
        Convolution: Lowering.convolution,
        MaxPooling: Lowering.maximum,
        AveragePooling: Lowering.average,
        GlobalAverage: Lowering.mean,
        Subsample: Lowering.halve,
        AveragePool: Lowering.halve,
    },
)


def lower(network: Network, tile: int, chain: Plan | None = None) -> Lines:
    """The plan of a network. chain: that of its first layers, if they are a chain of the paper's blocks."""
    return Lowering(tile).network(network, chain)


def _placed(value: Value, frame: list[int]) -> Value:
    """The value with its place in memory."""
    if len(value.shape) != 3:
        return replace(value, grid=(1, int(np.prod(value.shape[:-1], dtype=int)))) if value.shape else value
    top, left, below, right = frame
    h, w, _ = value.shape
    if value.spills:
        below, right = -h % value.spills, -w % value.spills
    return replace(value, corner=(top, left), grid=(top + h + below, left + w + right))


def _made_of(layer: Layer, x: Signal) -> Signal:
    """What a layer makes of two blank images, in float64."""
    params, buffers = ParamLayout(layer.params), ParamLayout(layer.buffers)
    blank = params.views(initial_params(params, 0).astype(np.float64))
    run = Run(blank, buffers.views(initial_buffers(buffers).astype(np.float64)), training=False)
    return layer(run, x)[0]
