"""The plan of an engine: one frozen record per convolution, and the shapes of the activations. No arrays."""

from __future__ import annotations

from dataclasses import dataclass, replace

from dptrain.kernels.codegen.lines import ADD, AVERAGE
from dptrain.kernels.codegen.registers import TILES
from dptrain.kernels.fused.convolution import rounded
from dptrain.kernels.fused.image import HALVING, IDENTITY, PLAIN
from dptrain.kernels.winograd import choose
from dptrain.model import ParamLayout
from dptrain.nn import convolution
from dptrain.nn.activations import ReLU
from dptrain.nn.containers import Residual, Sequential
from dptrain.nn.layer import Layer, pair
from dptrain.nn.network import Network
from dptrain.nn.norm import BatchNorm
from dptrain.nn.pooling import GlobalAverage
from dptrain.nn.resnet import AveragePool, Identity, Subsample

#: What a halving shortcut adds (kernels/codegen/lines.py).
KINDS: dict[type, int] = {Subsample: ADD, AveragePool: AVERAGE}

LARGEST_GROUP = 4  #: images; the scratch arrays have room for so many


@dataclass(frozen=True, slots=True)
class Shape:
    """The activations of one image at one place of the network, and how many array elements they take.

    In memory they lie as (image, row, pixel, channel). Both sides are rounded up to multiples of `tile`.
    """

    height: int
    width: int
    channels: int
    tile: int  #: outputs per side of the largest Winograd tile that the network may use

    @property
    def pixels(self) -> int:
        """Pixels of one image."""
        return self.height * self.width

    @property
    def bare(self) -> int:
        """Elements per image where a convolution writes its outputs."""
        return rounded(self.height, self.tile) * rounded(self.width, self.tile) * self.channels

    @property
    def framed(self) -> int:
        """Elements per image where a 3 x 3 convolution reads its inputs: in a frame of zeros, one pixel wide."""
        return (rounded(self.height, self.tile) + 2) * (rounded(self.width, self.tile) + 2) * self.channels

    def halved(self) -> Shape:
        """The outputs of a convolution with stride 2 and twice the channels."""
        return Shape(-(-self.height // 2), -(-self.width // 2), 2 * self.channels, self.tile)

    def __str__(self) -> str:
        return f"{self.height}x{self.width}x{self.channels}"


@dataclass(frozen=True, slots=True)
class Convolution:
    """A convolution and the BatchNorm behind it. Layer 0 is the stem. Odd layers begin a block, even ones end it."""

    name: str  #: as in the parameter names
    index: int
    inputs: Shape
    outputs: Shape
    mode: int  #: of the shortcut that is added to its inputs: PLAIN, IDENTITY or HALVING
    weight_at: int  #: offset of the weights (k, c, 3, 3) in the flat parameters
    norm_at: int  #: offset of gamma there; beta follows
    statistics_at: int  #: offset of the running mean in the flat buffers; the variance follows

    @property
    def stride(self) -> int:
        """1 or 2."""
        return 1 if self.inputs.height == self.outputs.height and self.inputs.width == self.outputs.width else 2

    @property
    def begins_block(self) -> bool:
        """Its inputs are a block's: they are kept for the shortcut and the backward pass, not computed again."""
        return self.index % 2 == 1

    @property
    def tile(self) -> int:
        """2 or 4: it runs as Winograd's F(2x2, 3x3) or F(4x4, 3x3). 0: the stem and convolutions with stride 2."""
        a, y = self.inputs, self.outputs
        return choose(a.channels, y.channels, y.height, y.width, y.tile) if self.index > 0 and self.stride == 1 else 0

    @property
    def group(self) -> int:
        """Images that go through a pass together: as many as fill Winograd's blocks of tiles to 15/16, at most four.

        The group decides the order of additions in a weight gradient, so it depends on the shapes only.
        """
        if not self.tile:
            return 1
        tiles = -(-self.outputs.height // self.tile) * -(-self.outputs.width // self.tile)
        waste = {images: -(images * tiles) % TILES / (images * tiles) for images in range(1, LARGEST_GROUP + 1)}
        return next((images for images, share in waste.items() if share <= 1 / 15), LARGEST_GROUP)

    @property
    def flops(self) -> int:
        """Floating-point operations of the forward pass per image: two per multiply-add of the direct convolution."""
        return 2 * 9 * self.outputs.height * self.outputs.width * self.inputs.channels * self.outputs.channels


@dataclass(frozen=True, slots=True)
class Plan:
    """The convolutions in order. The last outputs go through `tail_mode` to the mean over their pixels."""

    convolutions: tuple[Convolution, ...]
    tail_mode: int
    kind: int  #: of the halving shortcuts; 0: the network has no shortcuts
    layers: int  #: of the network that it covers


def match(network: Network, tile: int) -> Plan | None:
    """The plan of a network that begins as that of He et al. 2015; None for any other.

    It begins with convolution, BatchNorm and ReLU; the paper's blocks follow, all with or all without shortcuts, and
    the mean over all pixels. A network from a user's file is never one: its layers have always been computed one by
    one, and its runs keep their bits. tile: of Winograd's algorithm, at most.
    """
    layers = network.network.layers if isinstance(network.network, Sequential) else ()
    image = network.image
    end = next((at for at, layer in enumerate(layers) if isinstance(layer, GlobalAverage)), 0)
    if network.origin or end < 5 or end % 2 == 0 or min(image.height, image.width) < 8:
        return None
    chain = _Chain(network, Shape(image.height, image.width, image.channels, tile))
    fits = chain.add(layers[0], layers[1]) and all(isinstance(layer, ReLU) for layer in layers[2:end:2])
    if not fits or not all(map(chain.block, layers[3:end:2])):
        return None
    kinds = chain.kinds - {0}  # Identity has none
    if len(kinds) > 1 or len(chain.residual) > 1:
        return None
    kind = 0 if chain.residual == {False} else max(kinds, default=ADD)
    return Plan(tuple(chain.convolutions), chain.mode, kind, end + 1)


class _Chain:
    """The convolutions of the layers so far."""

    def __init__(self, network: Network, image: Shape) -> None:
        self._weights = {spec.name: at for spec, at in ParamLayout(network.network.params).items()}
        self._statistics = {spec.name: at for spec, at in ParamLayout(network.network.buffers).items()}
        self._shape = image
        self.convolutions: list[Convolution] = []
        self.mode = PLAIN  #: of the shortcut with which the last block ended
        self.kinds: set[int] = set()  #: of the shortcuts
        self.residual: set[bool] = set()  #: whether blocks have shortcuts

    def add(self, layer: Layer, norm: Layer) -> bool:
        """Adds a convolution and its BatchNorm. False: the chain has no passes for them."""
        index, inputs = len(self.convolutions), self._shape
        if type(layer) is not convolution.Convolution or type(norm) is not BatchNorm or not norm.affine:
            return False
        halves = index % 2 == 1 and pair(layer.stride) == (2, 2)  # the first of a block
        channels = layer.outputs if index == 0 else inputs.channels
        outputs = inputs.halved() if halves else replace(inputs, channels=channels)
        known = convolution.Convolution(
            layer.name, inputs.channels, outputs.channels, stride=2 if halves else 1, first=index == 0, init=layer.init
        )
        if layer != known or layer.outputs % 8:
            return False
        mode, self._shape = self.mode if index % 2 == 1 else PLAIN, outputs
        places = self._weights[f"{layer.name}.weight"], self._weights[f"{norm.name}.weight"]
        place = self._statistics[f"{norm.name}.running_mean"]
        self.convolutions.append(Convolution(layer.name, index, inputs, outputs, mode, *places, place))
        return True

    def block(self, layer: Layer) -> bool:
        """Adds the two convolutions of a block. False: the chain has no passes for it."""
        before, shortcut = self._shape, layer.shortcut if isinstance(layer, Residual) else None
        match layer.branch if isinstance(layer, Residual) else layer:
            case Sequential(layers=(first, norm, ReLU(), second, last)):
                fits = self.add(first, norm) and self.add(second, last)
            case _:
                fits = False
        self.mode = PLAIN if shortcut is None else IDENTITY if type(shortcut) is Identity else HALVING
        self.kinds.add(KINDS.get(type(shortcut), 0))
        self.residual.add(shortcut is not None)
        crosses = self.mode == PLAIN or (self.mode == HALVING) == (self._shape != before)
        known = self.mode != HALVING or (type(shortcut) in KINDS and not getattr(shortcut, "at_end", False))
        return fits and crosses and known
