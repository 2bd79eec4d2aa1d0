"""A network and what it was built for, whoever built it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, is_dataclass

from dptrain.nn.layer import Layer


@dataclass(frozen=True, slots=True)
class ImageShape:
    """What comes in: height, width, channels."""

    height: int
    width: int
    channels: int


@dataclass(frozen=True, slots=True)
class Network:
    """(n, h, w, c) -> (n, classes)."""

    image: ImageShape
    classes: int
    network: Layer = field(repr=False)
    origin: str = ""  #: SHA-256 (hex) of the file it was read from; "": one of ours


def children(layer: object) -> Iterator[Layer]:
    """The layers in the fields of a layer, in order; none for one that is no container."""
    for part in fields(layer) if is_dataclass(layer) else ():
        value = getattr(layer, part.name)
        for item in value if isinstance(value, tuple) else (value,):
            if callable(item) and hasattr(item, "params") and hasattr(item, "buffers"):
                yield item


def leaves(layer: Layer) -> Iterator[Layer]:
    """The layers of a network that hold no others, in order."""
    inner = list(children(layer))
    if not inner:
        yield layer
    for child in inner:
        yield from leaves(child)
