"""How a convolution lies in memory: the tile by which it runs, and the zero pixels that its passes want around it."""

from __future__ import annotations

from dataclasses import dataclass

from dptrain.kernels import conv, winograd
from dptrain.nn.convolution import Convolution
from dptrain.nn.layer import pair


@dataclass(frozen=True, slots=True)
class Geometry:
    """The outputs of a convolution, and the zero pixels that its passes want (above, left, below, right)."""

    outputs: tuple[int, int, int]
    inputs: tuple[int, int, int, int]  #: around the inputs
    gradients: tuple[int, int, int, int]  #: around the gradient of the outputs, for that of the inputs
    bare: tuple[int, int, int, int]  #: the same where only the weights have a gradient
    tile: int = 0  #: of Winograd's algorithm; 0: it is computed directly


def geometry_of(layer: Convolution, shape: tuple[int, ...], largest: int, *, pixels: bool) -> Geometry | None:
    """None if the engine has no passes for such a convolution."""
    (r, s), stride, pad = pair(layer.taps), pair(layer.stride), pair(layer.pad)
    if stride[0] != stride[1] or pad[0] != pad[1] or layer.outputs % 8:
        return None
    h, w, c = shape
    if c != layer.inputs or (not pixels and (c % 8 or layer.first)):
        return None
    p, q = (h + 2 * pad[0] - r) // stride[0] + 1, (w + 2 * pad[0] - s) // stride[0] + 1
    if p < 1 or q < 1:
        return None
    outputs = (p, q, layer.outputs)
    if winograd.fits(c, layer.outputs, (r, s), stride[0], pad[0]):
        tile = winograd.choose(c, layer.outputs, h, w, largest)
        down, across = -h % tile, -w % tile
        around = (1, 1, 1 + down, 1 + across)
        return Geometry(outputs, around, around, (0, 0, down, across), tile)
    rows, columns = conv.tap_classes(h, r, stride[0], pad[0]), conv.tap_classes(w, s, stride[0], pad[0])
    (above, below), (left, right) = conv.reach(rows, p), conv.reach(columns, q)
    return Geometry(outputs, (pad[0],) * 4, (above, left, below, right), (0, 0, 0, 0))
