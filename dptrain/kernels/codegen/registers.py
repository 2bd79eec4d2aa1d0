"""How a convolution is cut into register blocks on this CPU. The CPU changes the speed, never the bits."""

from __future__ import annotations

from typing import NamedTuple

from dptrain.kernels import isa


class Registers(NamedTuple):
    """The vector registers that a block may use."""

    lanes: int  #: float32 per vector
    accumulators: int  #: vectors that may hold partial sums; the rest is for weights and the broadcast


#: AVX-512 has 32 registers: 16 accumulators hide the latency of two fma units. AVX2 has 16 registers: 12 accumulators,
#: 2 weights, 1 broadcast. Portable code: SSE2 splits every vector of 8 lanes in two.
_REGISTERS = {"avx512": Registers(16, 16), "avx2": Registers(8, 12), "portable": Registers(8, 4)}


class Split(NamedTuple):
    """`big` parts of `size + 1`, then `small` parts of `size`: as equal as possible."""

    size: int
    big: int
    small: int

    def parts(self) -> list[tuple[int, int, int]]:
        """(start, number, size of each) of the big parts and of the small ones; without an entry for 0 parts."""
        big = (0, self.big, self.size + 1)
        return [part for part in (big, (self.big * (self.size + 1), self.small, self.size)) if part[1]]


def split(total: int, limit: int) -> Split:
    """Cuts `total` into the fewest parts of at most `limit`."""
    parts = -(-total // limit)
    size = total // parts
    return Split(size, total - size * parts, size * parts - total + parts)


def lanes(channels: int) -> int:
    """Vector width for this number of output channels: that of the level, or half of it if half would be unused."""
    widest = _REGISTERS[isa.level()].lanes
    return 8 if widest == 8 or channels % 16 in range(1, 9) else widest


def padded(channels: int) -> int:
    """Output channels rounded up to whole vectors."""
    return -(-channels // lanes(channels)) * lanes(channels)


def correlate_blocks(channels: int, width: int) -> tuple[int, Split]:
    """(vectors of output channels per block, split of a row of `width` outputs into blocks)."""
    vectors = padded(channels) // lanes(channels)
    blocks = 2 if vectors % 2 == 0 else 1
    return blocks, split(width, _REGISTERS[isa.level()].accumulators // blocks)


def outer_blocks(s_taps: int, inputs: int, outputs: int) -> tuple[int, Split]:
    """(vectors of output channels per block, split of the input channels); times s_taps they fit the registers."""
    vectors = padded(outputs) // lanes(outputs)
    blocks = 2 if vectors % 2 == 0 else 1
    room = 24 if isa.level() == "avx512" else _REGISTERS[isa.level()].accumulators
    return blocks, split(inputs, max(1, room // s_taps // blocks))


#: Winograd tiles transformed at a time. Decides a weight gradient's order of additions: the same on every CPU.
TILES = 16

#: Extra elements between the sixteen positions of transformed tiles, so that they do not share a set of the cache.
SPREAD = 16


def winograd_blocks(outputs: int) -> tuple[int, int]:
    """(vectors of output channels, tiles) per register block; the tiles divide TILES."""
    vectors = outputs // lanes(outputs)
    if isa.level() == "avx512":
        return 1, 16
    return (2, 4) if vectors % 2 == 0 else (1, 8)


def winograd_sums(inputs: int, outputs: int) -> tuple[int, int]:
    """(vectors of output channels, input channels) per register block of a weight gradient; both divide evenly."""
    vectors = outputs // lanes(outputs)
    if isa.level() == "avx512" and inputs % 16 == 0:
        return 1, 16
    return (2, 4) if vectors % 2 == 0 and isa.level() != "avx512" else (1, 8)
