"""The plan of an engine as data: values, lines that read and write them, and segments of lines. No arrays.

A value is an activation of one image, a gradient of one, or the numbers of a BatchNorm. A line is one compiled pass, or
some layers of `dptrain.nn`. A segment is what goes through the caches together: its lines run for a small group of
images, then for the next group. Numbers of a BatchNorm exist when all images of the shard have gone through, so a line
that reads them begins a segment.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from math import gcd, prod

from dptrain.engine.plan import Plan
from dptrain.kernels.codegen.registers import TILES
from dptrain.nn.layer import Layer, Pair

#: Bytes of activations that a group of images may have in a segment: a second cache. Half or twice is no faster.
ROOM = 1 << 20
_MOST = 64  #: images in a group


class Op(StrEnum):
    """What a line computes. Those of the backward pass are named after the gradient that they make."""

    PIXELS = "pixels"  #: standardised pixels
    CONVOLVE = "convolve"
    SUM = "sum"  #: per channel, for the mean of a BatchNorm
    SQUARES = "squares"  #: for its variance; the end of the line makes scale and shift
    APPLY = "apply"  #: scale and shift, or a bias; then the sum with another value; then ReLU
    MAXIMUM = "maximum"
    AVERAGE = "average"
    MEAN = "mean"  #: over all pixels of an image
    HALVE = "halve"  #: a halving shortcut
    LAYERS = "layers"  #: layers of dptrain.nn, for the whole shard
    CHAIN = "chain"  #: the passes of plan.py, from the pixels to the means of the last activations; for the whole shard
    MASK = "mask"  #: gradient: sum of one or two, then through ReLU; then the PRODUCTS of a BatchNorm below
    PRODUCTS = "products"  #: the two sums of a BatchNorm's gradient; the end of the line makes its slope
    UNNORM = "unnorm"  #: gradient before a BatchNorm
    BIAS = "bias"  #: gradient of a bias
    WEIGHTS = "weights"  #: gradient of a convolution's weights
    INPUTS = "inputs"  #: gradient of its inputs
    MAXIMUM_BACK = "maximum, back"
    AVERAGE_BACK = "average, back"
    MEAN_BACK = "mean, back"
    HALVE_BACK = "halve, back"
    LAYERS_BACK = "layers, back"
    CHAIN_BACK = "chain, back"


#: By the size of Winograd's tiles: the name, and multiply-adds of a direct convolution per multiply-add.
METHODS = {0: ("direct", 1.0), 2: ("f2", 2.25), 4: ("f4", 4.0)}

STATISTICS = (Op.SUM, Op.SQUARES)  #: lines that scoring leaves out: it uses the running statistics
WHOLE = (Op.LAYERS, Op.LAYERS_BACK, Op.CHAIN, Op.CHAIN_BACK)  #: lines that take the whole shard at once


@dataclass(frozen=True, slots=True)
class Value:
    """A value: its shape, and how an image of it lies in memory: as (row, pixel, channel), perhaps in a frame."""

    shape: tuple[int, ...]  #: (height, width, channels); (n,) for the numbers of an image, () for those of a BatchNorm
    corner: Pair = (0, 0)  #: rows above and pixels left of the image
    grid: Pair = (1, 1)  #: rows and pixels per row, with the frame
    spills: int = 0  #: its producer writes whole tiles of so many pixels, beyond the image; 0: the frame stays zero
    bytes: int = 4  #: of an element

    @property
    def channels(self) -> int:
        """Elements of a pixel."""
        return self.shape[-1]

    @property
    def row(self) -> int:
        """Elements between rows."""
        return self.grid[1] * self.channels

    @property
    def size(self) -> int:
        """Elements of an image, with the frame."""
        return prod(self.grid) * self.channels if self.shape else 0

    @property
    def at(self) -> int:
        """Its first element that belongs to the image."""
        return self.corner[0] * self.row + self.corner[1] * self.channels

    def __str__(self) -> str:
        return "x".join(map(str, self.shape)) or "-"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the plan. `reads` and `writes` are numbers of values."""

    op: Op
    reads: tuple[int, ...]
    writes: tuple[int, ...]
    layers: tuple[Layer, ...] = ()  #: whose arithmetic it is: the layer, or in an APPLY the BatchNorm or convolution
    add: bool = False  #: APPLY, MASK: there is a second operand
    relu: bool = False
    tile: int = 0  #: CONVOLVE, WEIGHTS, INPUTS: outputs of a side of Winograd's tiles; 0: directly
    key: int = 0  #: LAYERS, LAYERS_BACK: which belong together

    @property
    def fused(self) -> bool:
        """Whether it is a pass of the engine's own."""
        return self.op not in (Op.LAYERS, Op.LAYERS_BACK)

    def text(self, values: Sequence[Value]) -> str:
        """`convolve conv1: 32x32x3 -> 32x32x16 f4`."""
        names = [getattr(layer, "name", type(layer).__name__) for layer in self.layers]
        names += ["+ shortcut"] * (self.add and self.op == Op.APPLY) + ["ReLU"] * self.relu
        sides = [[str(values[v]) for v in side if values[v].shape] for side in (self.reads, self.writes)]
        shapes = " -> ".join(", ".join(dict.fromkeys(side)) for side in sides if side)
        method = f" {METHODS[self.tile][0]}" if self.op in (Op.CONVOLVE, Op.WEIGHTS, Op.INPUTS) else ""
        return f"{' '.join((self.op, ', '.join(names))).rstrip()}: {shapes}{method}"


@dataclass(frozen=True, slots=True)
class Segment:
    """Lines that run for `group` images, then for the next ones."""

    lines: tuple[Line, ...]
    group: int


@dataclass(frozen=True, slots=True)
class Lines:
    """A whole plan. The first value is that of the pixels; `scores` and `dscores` are those of the last layer."""

    values: tuple[Value, ...] = field(repr=False)
    forward: tuple[Segment, ...]
    backward: tuple[Segment, ...]
    scores: int
    dscores: int
    chain: Plan | None = None

    def scoring(self) -> Lines:
        """The same without the backward pass, and without the statistics of a shard. It needs much less memory."""
        kept = [tuple(line for line in part.lines if line.op not in STATISTICS) for part in self.forward]
        forward = [Segment(lines, part.group) for lines, part in zip(kept, self.forward, strict=True) if lines]
        return replace(self, forward=tuple(forward), backward=())

    def lines(self) -> Iterator[Line]:
        """All lines in the order in which a shard runs them."""
        for segment in (*self.forward, *self.backward):
            yield from segment.lines


def segments(lines: list[Line], values: tuple[Value, ...]) -> tuple[Segment, ...]:
    """Cuts lines at numbers that need the whole shard, and at layers that take it at once."""
    parts: list[list[Line]] = [[]]
    written: set[int] = set()
    for line in lines:
        if line.op in WHOLE or written & set(line.reads) or (parts[-1] and parts[-1][-1].op in WHOLE):
            parts.append([])
            written = set()
        parts[-1].append(line)
        written |= {v for v in line.writes if not values[v].shape}
    return tuple(Segment(tuple(part), _group(part, values)) for part in parts if part)


def _group(lines: list[Line], values: tuple[Value, ...]) -> int:
    """As many images as there is room for; a weight gradient wants whole blocks of Winograd's tiles.

    A line by itself takes many: it leaves nothing in the caches for the next one.
    """
    if len(lines) == 1:
        return _MOST
    touched = {v for line in lines for v in (*line.reads, *line.writes)}
    room = max(1, ROOM // max(1, sum(values[v].size * values[v].bytes for v in touched)))
    weights = [line for line in lines if line.op == Op.WEIGHTS and line.tile]
    least = max((_images(values[line.reads[1]], line.tile) for line in weights), default=1)
    return max(least, min(_MOST, room) // least * least)


def _images(gradient: Value, tile: int) -> int:
    """The fewest images whose tiles fill whole blocks of TILES: a power of two."""
    tiles = -(-gradient.shape[0] // tile) * -(-gradient.shape[1] // tile)
    return TILES // gcd(TILES, tiles)
