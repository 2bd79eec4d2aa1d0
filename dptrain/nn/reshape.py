"""The same values in another shape; the sample stays the first axis."""

from __future__ import annotations

from dataclasses import dataclass

from dptrain.model import ParamSpec
from dptrain.nn.layer import Backward, Run
from dptrain.types import Floats


@dataclass(frozen=True, slots=True)
class Reshape:
    """(n, ...) -> (n, *shape), Torch's View, too; one -1 is what is left. C order: rows, columns, channels."""

    shape: tuple[int, ...] = (-1,)
    params: tuple[ParamSpec, ...] = ()
    buffers: tuple[ParamSpec, ...] = ()

    def __call__(self, run: Run, x: Floats) -> tuple[Floats, Backward]:  # noqa: ARG002
        """See the class. Raises ValueError for a shape of another size."""
        return x.reshape(x.shape[0], *self.shape), lambda dy, gradients: dy.reshape(x.shape)  # noqa: ARG005
