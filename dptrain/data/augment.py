"""Augmentation as a chain of operations, each a frozen dataclass around one kernel. What they do: kernels/augment.

A new operation is a dataclass here with `name`, `usage`, `domain`, `parse`, `check` and `apply`, a kernel, a number in
philox/domains.py, and its place in `_OPERATIONS`.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from dptrain.errors import UsageError
from dptrain.kernels import augment as kernels
from dptrain.kernels import philox
from dptrain.types import I64, U8, U32


class Operation(Protocol):
    """One step of the chain. The draws of a sample depend on (seed, epoch, sample id, domain) and on nothing else."""

    name: ClassVar[str]
    usage: ClassVar[str]
    domain: ClassVar[int]  #: of its random words

    def check(self, image_shape: tuple[int, int, int]) -> None:
        """Raises UsageError for images (h, w, c) it cannot be applied to."""
        ...

    def apply(self, images: U8, words: U32, out: U8) -> None:
        """images, out: (n, h, w, c), C order, not overlapping; words: (n, 4). Overwrites `out`."""
        ...


@dataclass(frozen=True, slots=True)
class Flip:
    """Mirrors left to right with p = 1/2."""

    name: ClassVar[str] = "flip"
    usage: ClassVar[str] = "flip"
    domain: ClassVar[int] = philox.domains.AUGMENT_FLIP

    @classmethod
    def parse(cls, arguments: list[int]) -> Flip:
        """Takes no arguments. Raises ValueError."""
        if arguments:
            raise ValueError("it takes no number")
        return cls()

    def check(self, image_shape: tuple[int, int, int]) -> None:
        """Any image can be mirrored."""

    def apply(self, images: U8, words: U32, out: U8) -> None:
        """See Operation."""
        kernels.flip(images, words, out)


@dataclass(frozen=True, slots=True)
class Crop:
    """Pads on all sides, then cuts out the old size at any offset, each equally likely."""

    name: ClassVar[str] = "crop"
    usage: ClassVar[str] = "crop:PAD or crop:PAD:FILL"
    domain: ClassVar[int] = philox.domains.AUGMENT_CROP

    pad: int
    fill: int = 0  #: value of the padding pixels, before normalisation

    @classmethod
    def parse(cls, arguments: list[int]) -> Crop:
        """PAD in pixels, then perhaps FILL. Raises ValueError."""
        if len(arguments) not in (1, 2):
            raise ValueError("it takes one or two numbers")
        if arguments[0] < 1:
            raise ValueError("PAD must be 1 or more")
        if arguments[1:] and arguments[1] > 255:
            raise ValueError("FILL must lie in 0 ... 255")
        return cls(*arguments)

    def check(self, image_shape: tuple[int, int, int]) -> None:
        """The padding must be smaller than the image, or some crops would show nothing of it."""
        h, w, _ = image_shape
        if self.pad >= min(h, w):
            raise UsageError(
                f"augmentation crop:{self.pad}: images are {h} x {w}; PAD must lie in 1 ... {min(h, w) - 1}"
            )

    def apply(self, images: U8, words: U32, out: U8) -> None:
        """See Operation."""
        kernels.crop(images, words, self.pad, self.fill, out)


_OPERATIONS: dict[str, type[Flip] | type[Crop]] = {op.name: op for op in (Flip, Crop)}


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Operations in order; none at all leaves images as they are."""

    operations: tuple[Operation, ...] = ()

    @classmethod
    def parse(cls, specs: Sequence[str], image_shape: tuple[int, int, int]) -> Pipeline:
        """E.g. ("crop:4", "flip"), for images (h, w, c). Raises UsageError."""
        operations = tuple(_parse(spec) for spec in specs)
        for i, operation in enumerate(operations):
            if operation.name in [other.name for other in operations[:i]]:
                raise UsageError(f"augmentation {operation.name!r} is given twice; each may be given once")
            operation.check(image_shape)
        return cls(operations)

    def apply(self, images: U8, ids: I64, seed: int, epoch: int, out: U8 | None = None) -> U8:
        """images: (n, h, w, c), not changed; ids: (n,), the samples they show. Returns `out`, or a new array.

        How samples are grouped into calls, and in which order, makes no difference to any of them.
        """
        source = np.require(images, np.uint8, ("C", "W"))  # a read-only array would be compiled for once more
        target = np.empty_like(source) if out is None else out
        if target.shape != images.shape or np.may_share_memory(target, images):
            raise ValueError(f"out must be another array of shape {images.shape}")
        if not self.operations:
            target[...] = source
        for i, operation in enumerate(self.operations):
            result = target if i == len(self.operations) - 1 else np.empty_like(source)
            operation.apply(source, philox.blocks(seed, operation.domain, epoch, ids), result)
            source = result
        return target


def _parse(spec: str) -> Operation:
    name, *arguments = spec.split(":")
    if name not in _OPERATIONS:
        close = difflib.get_close_matches(name, _OPERATIONS, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        usages = ", ".join(op.usage for op in _OPERATIONS.values())
        raise UsageError(f"there is no augmentation {name!r}: {hint}There are {usages}")
    kind = _OPERATIONS[name]
    if not all(argument.isascii() and argument.isdigit() for argument in arguments):
        raise UsageError(f"augmentation {spec!r}: what follows the name must be whole numbers; write {kind.usage}")
    try:
        return kind.parse([int(argument) for argument in arguments])
    except ValueError as e:
        raise UsageError(f"augmentation {spec!r}: {e}; write {kind.usage}") from e
