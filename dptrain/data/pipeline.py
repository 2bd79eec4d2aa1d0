"""Augmentation as a chain of operations, made from specifications such as "crop:4". Each operation: `augment.py`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dptrain.data.augment import OPERATIONS, VIEWS, Crop, CutWindow, Operation, Shape
from dptrain.errors import UsageError, nearest
from dptrain.kernels import philox
from dptrain.types import I64, U8


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Operations in order. Without operations, images stay as they are."""

    operations: tuple[Operation, ...] = ()

    @classmethod
    def parse(cls, specs: Sequence[str], image_shape: Shape) -> Pipeline:
        """From specifications such as ("crop:4", "flip"), for images (h, w, c). Raises UsageError."""
        operations = tuple(_parse(spec) for spec in specs)
        shape = image_shape
        for i, operation in enumerate(operations):
            if operation.name in [other.name for other in operations[:i]]:
                raise UsageError(f"augmentation {operation.name!r} is given twice; each may be given once")
            operation.check(shape)
            shape = operation.output(shape)
        return cls(operations)

    def fit(self, images: U8) -> Pipeline:
        """The pipeline after every operation has measured the training images (n, h, w, c)."""
        return Pipeline(tuple(operation.fit(images) for operation in self.operations))

    def output(self, shape: Shape) -> Shape:
        """(h, w, c) of the result, in training and in evaluation."""
        for operation in self.operations:
            shape = operation.output(shape)
        return shape

    @property
    def views(self) -> tuple[str, ...]:
        """What evaluation can look at: five crops if images are cropped, else one."""
        return VIEWS if any(isinstance(operation, Crop | CutWindow) for operation in self.operations) else VIEWS[:1]

    def apply(self, images: U8, ids: I64, seed: int, epoch: int, out: U8 | None = None) -> U8:
        """images: (n, h, w, c), not changed; ids: (n,), their training numbers. Returns `out` or a new array.

        The result for an image does not depend on the other images of the call, or on the order of the calls.
        """
        source = np.require(images, np.uint8, ("C", "W"))  # Numba would compile once more for a read-only array
        n, *size = source.shape
        shape = self.output((size[0], size[1], size[2]))
        target = np.empty((n, *shape), np.uint8) if out is None else out
        if target.shape != (n, *shape) or np.may_share_memory(target, images):
            raise ValueError(f"out must be another array of shape {(n, *shape)}")
        if not self.operations:
            target[...] = source
        for i, operation in enumerate(self.operations):
            size = list(operation.output((size[0], size[1], size[2])))
            result = target if i == len(self.operations) - 1 else np.empty((n, *size), np.uint8)
            operation.apply(source, philox.blocks(seed, operation.domain, epoch, ids), result)
            source = result
        return target

    def still(self, images: U8, view: str = VIEWS[0]) -> U8:
        """What evaluation sees of images (n, h, w, c): crops and padding, no random operation. view: one of VIEWS."""
        for operation in self.operations:
            images = operation.still(images, view)
        return images


def _parse(spec: str) -> Operation:
    name, *arguments = spec.split(":")
    if name not in OPERATIONS:
        usages = ", ".join(kind.usage() for kind in OPERATIONS.values())
        raise UsageError(f"there is no augmentation {name!r}{nearest(name, OPERATIONS) or '.'} There are {usages}")
    kind = OPERATIONS[name]
    if not all(argument.isascii() and argument.isdigit() for argument in arguments):
        raise UsageError(f"augmentation {spec!r}: what follows the name must be whole numbers; write {kind.usage()}")
    try:
        return kind.parse([int(argument) for argument in arguments])
    except ValueError as e:
        raise UsageError(f"augmentation {spec!r}: {e}; write {kind.usage()}") from e
