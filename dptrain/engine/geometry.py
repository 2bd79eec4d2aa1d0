"""How the maps of a shard lie in memory: (image, row, pixel, channel), sides rounded up to even ones."""

from __future__ import annotations

from dataclasses import dataclass

from dptrain.kernels.fused.convolution import even


@dataclass(frozen=True, slots=True)
class Map:
    """The activations of one image at one place of the network, in elements."""

    height: int
    width: int
    channels: int

    @property
    def pixels(self) -> int:
        """Of an image."""
        return self.height * self.width

    @property
    def bare(self) -> int:
        """Elements an image takes where a convolution writes it."""
        return even(self.height) * even(self.width) * self.channels

    @property
    def framed(self) -> int:
        """Elements an image takes where a 3 x 3 convolution reads it: in a frame of zeros, one pixel wide."""
        return (even(self.height) + 2) * (even(self.width) + 2) * self.channels

    @property
    def tiles(self) -> int:
        """Winograd tiles of 2 x 2 pixels."""
        return even(self.height) * even(self.width) // 4

    def halved(self) -> Map:
        """What a convolution with stride 2 and twice the channels makes of it."""
        return Map(-(-self.height // 2), -(-self.width // 2), 2 * self.channels)
