"""How a map is cut into what fits the matrix tiles: strips of rows, and lines of positions for a weight gradient.

All of it changes speed and scratch only, but for a line's pitch: it decides which pixels' products are summed up
together.
"""

from __future__ import annotations

from typing import NamedTuple

SIDE = 16  #: pixels and channels of a tile
DEPTH = 32  #: products of a tile
MOST = 5  #: tiles that hold sums at a time


class Strip(NamedTuple):
    """Some rows of outputs, made together."""

    rows: int
    tiles: int
    columns: int  #: tiles side by side; then comes the next row
    pitch: int  #: pixels of the tiles from one row to the next


def strip(width: int, rows: int, pitch: int) -> Strip:
    """The one with the least waste for `rows` rows of `width` outputs, whose inputs begin `pitch` outputs apart.

    Tiles cover row after row; or everything from the first pixel of a strip to its last one, what is between rows
    included: 8 x 8 pixels in a frame are then 5 tiles instead of 8.
    """
    beside = blocks(width, SIDE)
    found = [Strip(r, r * beside, beside, beside * SIDE) for r in range(1, rows + 1)]
    through = [(r, blocks((r - 1) * pitch + width, SIDE)) for r in range(1, rows + 1)]
    found += [Strip(r, tiles, tiles, pitch) for r, tiles in through]
    fitting = [s for s in found if s.tiles <= max(MOST, beside)]
    return min(fitting, key=lambda s: (blocks(rows, s.rows) * s.tiles, -s.tiles))


class Line(NamedTuple):
    """An image's gradient as one line of positions, `pitch` a row, and the inputs as such lines, one a channel."""

    stride: int
    pitch: int
    channels: int  #: of the inputs, in whole tiles
    blocks: int  #: times 32 positions
    pairs: int  #: of positions; what is left of the blocks is zero
    length: int  #: of the inputs' line of one channel

    @property
    def planes(self) -> int:
        """Lines of a channel: one, or (stride 2) one for each parity of row and column."""
        return self.stride * self.stride

    @property
    def inputs(self) -> int:
        """Elements of an image."""
        return self.planes * self.channels * self.length

    def gradients(self, outputs: int) -> int:
        """Elements of an image with so many channels."""
        return blocks(outputs, SIDE) * self.blocks * SIDE * DEPTH

    def shift(self, r: int, s: int) -> int:
        """Elements from a position to what tap (r, s) sees there."""
        if self.stride == 1:
            return r * self.pitch + s
        plane = r % 2 * 2 + s % 2
        return plane * self.channels * self.length + r // 2 * self.pitch + s // 2


def line(channels: int, rows: int, width: int, stride: int) -> Line:
    """For rows x width gradients in a frame of even sides, of a convolution of `channels` inputs with this stride."""
    pitch = width + width % 2 + 2
    positions = (rows - 1) * pitch + width
    count = blocks(positions, DEPTH)
    if stride == 1:
        written, reach = DEPTH * blocks((rows + rows % 2 + 2) * pitch, DEPTH), 2 * pitch + 2
    else:
        written, reach = rows * pitch + DEPTH * blocks(pitch, DEPTH), pitch + 1
    length = DEPTH * blocks(max(written, count * DEPTH + reach), DEPTH)
    return Line(stride, pitch, SIDE * blocks(channels, SIDE), count, blocks(positions, 2), length)


def blocks(total: int, size: int) -> int:
    """How many of this size hold so much."""
    return -(-total // size)
