"""The plan of an engine: one frozen record per convolution, and the shapes of the activations. No arrays."""

from __future__ import annotations

from dataclasses import dataclass, replace

from dptrain.kernels.codegen.lines import ADD, AVERAGE
from dptrain.kernels.codegen.registers import TILES
from dptrain.kernels.fused.convolution import rounded
from dptrain.kernels.fused.image import HALVING, IDENTITY, PLAIN
from dptrain.kernels.winograd import choose
from dptrain.model import ParamLayout
from dptrain.settings import ModelConfig

#: What a halving shortcut adds (kernels/codegen/lines.py), by its name in the configuration.
KINDS = {"A": ADD, "avgpool": AVERAGE}

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


def plan(config: ModelConfig, image: Shape, layouts: tuple[ParamLayout, ParamLayout]) -> Plan:
    """The 6 n + 1 convolutions of the paper's network. layouts: of the parameters and of the buffers."""
    params, buffers = layouts
    weights = {spec.name: at for spec, at in params.items()}
    statistics = {spec.name: at for spec, at in buffers.items()}
    layers: list[Convolution] = []

    def add(name: str, norm: str, inputs: Shape, outputs: Shape, mode: int) -> Shape:
        layers.append(
            Convolution(
                name, len(layers), inputs, outputs, mode,
                weights[f"{name}.weight"], weights[f"{norm}.weight"], statistics[f"{norm}.running_mean"],
            )
        )  # fmt: skip
        return outputs

    shape = add("conv1", "bn1", image, replace(image, channels=config.filters), PLAIN)
    mode = PLAIN  # of the shortcut with which the last block ended
    for stage in range(3):
        for block in range(config.n):
            name, halves = f"layer{stage + 1}.{block}", stage > 0 and block == 0
            outputs = shape.halved() if halves else shape
            shape = add(f"{name}.conv1", f"{name}.bn1", shape, outputs, mode)
            shape = add(f"{name}.conv2", f"{name}.bn2", shape, shape, PLAIN)
            mode = PLAIN if not config.residual else HALVING if halves else IDENTITY
    return Plan(tuple(layers), mode, KINDS[config.shortcut] if config.residual else 0)
