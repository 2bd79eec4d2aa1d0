"""The plan: a network as a list of frozen records, one a convolution, and how they hang together. No arrays here."""

from __future__ import annotations

from dataclasses import dataclass

from dptrain.engine.geometry import Map
from dptrain.kernels.codegen.lines import ADD, AVERAGE
from dptrain.kernels.codegen.registers import TILES
from dptrain.kernels.fused.image import HALVING, IDENTITY, PLAIN
from dptrain.model import ParamLayout
from dptrain.settings import ModelConfig

#: What a halving shortcut adds up (kernels/codegen/lines.py), by its name in the configuration.
KINDS = {"A": ADD, "avgpool": AVERAGE}

LARGEST_GROUP = 4  #: images; so much scratch there is


@dataclass(frozen=True, slots=True)
class Convolution:
    """A convolution and the BatchNorm behind it. Layer 0 is the stem; odd ones begin a block, even ones end it."""

    name: str  #: as in the parameter names
    index: int
    inputs: Map
    outputs: Map
    mode: int  #: of the shortcut its input map comes through: PLAIN, IDENTITY or HALVING
    weight_at: int  #: offsets in the flat parameters: (k, c, 3, 3)
    norm_at: int  #: gamma, then beta
    statistics_at: int  #: offset in the flat buffers: mean, then variance

    @property
    def stride(self) -> int:
        """1 or 2."""
        return 1 if self.inputs.height == self.outputs.height and self.inputs.width == self.outputs.width else 2

    @property
    def begins_block(self) -> bool:
        """Its input map is a block's: kept for the shortcut and for the way back, not computed again."""
        return self.index % 2 == 1

    @property
    def winograd(self) -> bool:
        """Whether it runs as Winograd's F(2x2, 3x3): all but the stem and those with stride 2, which run directly."""
        return self.index > 0 and self.stride == 1

    @property
    def group(self) -> int:
        """Images that go through a pass together: as many as fill Winograd's blocks of tiles to 15/16, four at most.

        Decides the order of additions in a weight gradient: depends on the geometry only.
        """
        if self.stride == 2:
            return 1
        tiles = self.outputs.tiles
        waste = {images: -(images * tiles) % TILES / (images * tiles) for images in range(1, LARGEST_GROUP + 1)}
        return next((images for images, share in waste.items() if share <= 1 / 15), LARGEST_GROUP)

    @property
    def flops(self) -> int:
        """Of one image's forward pass, two a multiply-add, direct convolution."""
        return 2 * 9 * self.outputs.height * self.outputs.width * self.inputs.channels * self.outputs.channels


@dataclass(frozen=True, slots=True)
class Plan:
    """The convolutions in order; their last output goes through `tail_mode` to the mean over its pixels."""

    convolutions: tuple[Convolution, ...]
    tail_mode: int
    kind: int  #: of the halving shortcuts; 0: the network is plain


def plan(config: ModelConfig, image: Map, layouts: tuple[ParamLayout, ParamLayout]) -> Plan:
    """Lays out the 6 n + 1 convolutions of the paper's network. layouts: of params, buffers."""
    params, buffers = layouts
    weights = {spec.name: at for spec, at in params.items()}
    statistics = {spec.name: at for spec, at in buffers.items()}
    layers: list[Convolution] = []

    def add(name: str, norm: str, inputs: Map, outputs: Map, mode: int) -> Map:
        layers.append(
            Convolution(
                name, len(layers), inputs, outputs, mode,
                weights[f"{name}.weight"], weights[f"{norm}.weight"], statistics[f"{norm}.running_mean"],
            )
        )  # fmt: skip
        return outputs

    maps = add("conv1", "bn1", image, Map(image.height, image.width, config.filters), PLAIN)
    mode = PLAIN  # of what the last block ended with
    for stage in range(3):
        for block in range(config.n):
            name, halves = f"layer{stage + 1}.{block}", stage > 0 and block == 0
            outputs = maps.halved() if halves else maps
            maps = add(f"{name}.conv1", f"{name}.bn1", maps, outputs, mode)
            maps = add(f"{name}.conv2", f"{name}.bn2", maps, maps, PLAIN)
            mode = PLAIN if not config.residual else HALVING if halves else IDENTITY
    return Plan(tuple(layers), mode, KINDS[config.shortcut] if config.residual else 0)
