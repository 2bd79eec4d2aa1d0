"""What differs between fp32 and bf16: how maps are kept, the kernels of the passes, packed weights, scratch."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np

from dptrain.engine.plan import LARGEST_GROUP, Convolution, Plan
from dptrain.engine.tileweights import TileWeights
from dptrain.engine.weights import LayerWeights, WinogradWeights
from dptrain.kernels import aligned, tiles
from dptrain.kernels.conv.winograd import scratch
from dptrain.kernels.fused import convolution, ends, peak, tiled
from dptrain.kernels.intrinsics import strips
from dptrain.types import F32, Maps

Kernel: TypeAlias = Callable[..., None]


class Scratch(NamedTuple):
    """The last arguments of each kind of kernel; what is in them between two passes does not matter."""

    stem: tuple[Maps, ...]
    stem_back: tuple[Maps, ...]
    layer: tuple[Maps, ...]
    layer_back: tuple[Maps, ...]


class Method(NamedTuple):
    """Of convolution."""

    name: str
    saving: float  #: direct multiply-adds for one of this method


class Arithmetic(Protocol):
    """Of an engine. One a model: it knows no arrays but those it makes."""

    name: str
    element: int  #: bytes of an element of a map

    def zeros(self, size: int) -> Maps:
        """Room for maps."""
        ...

    def beyond(self, plan: Plan) -> int:
        """Maps that may be read behind the last map."""
        ...

    def scratch(self, plan: Plan) -> Scratch:
        """Enough for every layer."""
        ...

    def weights(self, layer: Convolution) -> LayerWeights:
        """A layer's, packed."""
        ...

    def table(self, pixels: tuple[F32, F32]) -> Maps:
        """(channels, 256): what each pixel value becomes, for mean and deviation a channel."""
        ...

    def stem(self, layer: Convolution) -> Kernel:
        """Pixels to the first outputs."""
        ...

    def stem_back(self, layer: Convolution) -> Kernel:
        """And their gradient."""
        ...

    def layer(self, layer: Convolution, wide: int, kind: int) -> Kernel:
        """Outputs to outputs; wide, kind: of the halving shortcut its input may come through."""
        ...

    def layer_back(self, layer: Convolution, kind: int) -> Kernel:
        """Gradient to gradient; kind: of the halving shortcut around it."""
        ...

    def method(self, layer: Convolution) -> Method:
        """How a layer's products are made."""
        ...

    def peak(self) -> float:
        """GFLOP/s of such products on this core at best. Measured now."""
        ...


def arithmetic(precision: str) -> Arithmetic:
    """Of "fp32" or "bf16"."""
    return Bf16() if precision == "bf16" else Fp32()


class Fp32:
    """float32 throughout: Winograd and direct convolutions with fused multiply-adds."""

    name, element = "fp32", 4

    def zeros(self, size: int) -> Maps:
        """Float32."""
        return aligned.zeros((size,))

    def beyond(self, plan: Plan) -> int:  # noqa: ARG002  # the protocol's
        """None."""
        return 0

    def scratch(self, plan: Plan) -> Scratch:
        """Transformed tiles: of inputs, gradients, products."""
        v, d, m = (scratch(plan.convolutions[-1].outputs.channels) for _ in range(3))
        return Scratch((), (), (v, d), (v, d, m))

    def weights(self, layer: Convolution) -> LayerWeights:
        """Transformed, or in register blocks."""
        return WinogradWeights(layer)

    def table(self, pixels: tuple[F32, F32]) -> Maps:
        """Float32."""
        table = aligned.empty((len(pixels[0]), 256))
        ends.pixel_values(*pixels, table)
        return table

    def stem(self, layer: Convolution) -> Kernel:
        """Direct."""
        return ends.stem_forward(*_ends(layer))

    def stem_back(self, layer: Convolution) -> Kernel:
        """Direct."""
        return ends.stem_backward(*_ends(layer))

    def layer(self, layer: Convolution, wide: int, kind: int) -> Kernel:
        """Winograd's way where the stride is 1."""
        return convolution.forward(*_shape(layer), wide, kind, layer.group)

    def layer_back(self, layer: Convolution, kind: int) -> Kernel:
        """Likewise."""
        return convolution.backward(*_shape(layer), kind, layer.group)

    def method(self, layer: Convolution) -> Method:
        """F(2x2, 3x3) where the stride is 1."""
        return Method("direct", 1) if layer.index == 0 or layer.stride == 2 else Method("winograd", 2.25)

    def peak(self) -> float:
        """Of fused multiply-adds."""
        return peak.fma_gflops()


class Bf16:
    """bf16 maps and weights, products on matrix tiles, sums in float32 (kernels/fused/tiled.py)."""

    name, element = "bf16", 2

    def zeros(self, size: int) -> Maps:
        """bf16."""
        return aligned.zeros_bf16((size,))

    def beyond(self, plan: Plan) -> int:
        """A tile is read whole: behind the last row of a strip too, which has no more rows than the map."""
        return max(2 * layer.inputs.framed + 2 * layer.outputs.framed for layer in plan.convolutions) + 1024

    def scratch(self, plan: Plan) -> Scratch:
        """A strip of tiles and its moments; transposed inputs and paired gradients of a group of images."""
        layers, beyond = plan.convolutions, strips.DEPTH
        widest = max(strips.blocks(layer.outputs.width, strips.SIDE) for layer in layers)
        strip = aligned.zeros((max(strips.MOST, widest) * strips.SIDE * strips.SIDE,))
        sums = aligned.zeros((4 * max(strips.SIDE * strips.blocks(a.outputs.channels, strips.SIDE) for a in layers),))
        lines = [(_group(layer), _line(layer), layer.outputs.channels) for layer in layers]
        inputs = aligned.zeros_bf16((max(n * line.inputs for n, line, _ in lines) + beyond,))
        pairs = aligned.zeros_bf16((max(n * line.gradients(k) for n, line, k in lines),))
        return Scratch((strip, sums), (inputs, pairs), (strip, sums), (inputs, pairs, strip))

    def weights(self, layer: Convolution) -> LayerWeights:
        """In tiles."""
        return TileWeights(layer)

    def table(self, pixels: tuple[F32, F32]) -> Maps:
        """Rounded."""
        table = np.empty((len(pixels[0]), 256), np.float32)
        ends.pixel_values(*pixels, table)
        return tiles.narrow(table)

    def stem(self, layer: Convolution) -> Kernel:
        """As any other convolution."""
        return tiled.stem_forward(*_ends(layer))

    def stem_back(self, layer: Convolution) -> Kernel:
        """Likewise."""
        return tiled.stem_backward(*_ends(layer))

    def layer(self, layer: Convolution, wide: int, kind: int) -> Kernel:
        """Image by image."""
        return tiled.forward(*_shape(layer), wide, kind)

    def layer_back(self, layer: Convolution, kind: int) -> Kernel:
        """In groups of images."""
        return tiled.backward(*_shape(layer), kind, _group(layer))

    def method(self, layer: Convolution) -> Method:  # noqa: ARG002  # the protocol's
        """Direct, all of them."""
        return Method("tiles", 1)

    def peak(self) -> float:
        """Of matrix tiles, or of their emulation."""
        return peak.tile_gflops()


def _ends(stem: Convolution) -> tuple[int, int, int, int]:
    return stem.inputs.channels, stem.outputs.channels, stem.inputs.height, stem.inputs.width


def _shape(layer: Convolution) -> tuple[int, int, int, int, int]:
    a = layer.inputs
    return a.channels, layer.outputs.channels, a.height, a.width, layer.stride


def _line(layer: Convolution) -> strips.Line:
    return strips.line(layer.inputs.channels, layer.outputs.height, layer.outputs.width, layer.stride)


def _group(layer: Convolution) -> int:
    """Images whose products are summed up before the tiles are stored: 16 blocks of positions. Changes no bit."""
    if layer.index == 0:
        return 1
    return min(LARGEST_GROUP, strips.blocks(16, _line(layer).blocks))
