"""How a convolution is cut into register blocks on this CPU. Blocking changes speed, never bits."""

from __future__ import annotations

from typing import NamedTuple

from dptrain.kernels import isa


class Registers(NamedTuple):
    """What a register block may use."""

    lanes: int  #: float32 per vector
    accumulators: int  #: vectors that may hold partial sums; the rest is for weights and the broadcast


#: AVX-512 has 32 registers: 16 accumulators hide the latency of two fma units; more gained nothing (docs/LOG.md).
#: AVX2 has 16: 12 accumulators, 2 weights, 1 broadcast. Portable: SSE2 splits every 8-lane vector in two.
_REGISTERS = {"avx512": Registers(16, 16), "avx2": Registers(8, 12), "portable": Registers(8, 4)}


class Split(NamedTuple):
    """`big` parts of `size + 1`, then `small` parts of `size`: as equal as can be."""

    size: int
    big: int
    small: int


def split(total: int, limit: int) -> Split:
    """Cuts `total` into the fewest parts of at most `limit`."""
    parts = -(-total // limit)
    size = total // parts
    return Split(size, total - size * parts, size * parts - total + parts)


def lanes(channels: int) -> int:
    """Vector width for this number of output channels: the level's own, halved where half would lie idle."""
    widest = _REGISTERS[isa.level()].lanes
    return 8 if widest == 8 or channels % 16 in range(1, 9) else widest


def padded(channels: int) -> int:
    """Output channels rounded up to whole vectors."""
    return -(-channels // lanes(channels)) * lanes(channels)


def correlate_blocks(channels: int, width: int) -> tuple[int, Split]:
    """(vectors of output channels a block, split of a row of `width` outputs into blocks)."""
    vectors = padded(channels) // lanes(channels)
    blocks = 2 if vectors % 2 == 0 else 1
    return blocks, split(width, _REGISTERS[isa.level()].accumulators // blocks)


def outer_channels(s_taps: int, channels: int) -> Split:
    """Split of the input channels so that a block's s_taps x channels accumulators fit the registers."""
    room = 24 if isa.level() == "avx512" else _REGISTERS[isa.level()].accumulators
    return split(channels, max(1, room // s_taps))


def winograd_tiles(channels: int) -> int:
    """Tiles transformed at a time: their 16 positions and products should stay in the nearest caches."""
    return 32 if channels <= 16 else 16


def winograd_sum_tiles(inputs: int, outputs: int) -> int:
    """Tiles added up at a time in a weight gradient. Decides the order of additions: must not depend on the CPU."""
    return 8 if inputs * outputs <= 256 else 32  # what the 32 KB nearest cache wants: measured in docs/LOG.md


def winograd_blocks(outputs: int) -> tuple[int, int]:
    """(vectors of output channels, tiles) a register block; tiles divide both 16 and 32."""
    vectors = outputs // lanes(outputs)
    if isa.level() == "avx512":
        return 1, 16
    return (2, 4) if vectors % 2 == 0 else (1, 8)


def winograd_channels(inputs: int) -> int:
    """Input channels a register block of a weight gradient: the largest divisor that fits."""
    room = 16 if isa.level() == "avx512" else 8
    return room if inputs % room == 0 else 8
