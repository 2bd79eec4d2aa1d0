"""First weights. Drawn from counter-based streams by parameter number: the same on every machine, in any order."""

from __future__ import annotations

import math

import numpy as np

from dptrain.kernels.philox import domains, normals, uniforms
from dptrain.model import ParamLayout, ParamSpec
from dptrain.types import F32, F64


def kaiming_normal(seed: int, stream: int, shape: tuple[int, ...]) -> F64:
    """N(0, 2 / fan_in) for weights (k, c, r, s); He et al. 2015b, equation 10."""
    fan_in = math.prod(shape[1:])
    return normals(seed, domains.INIT, stream, math.prod(shape)).reshape(shape) * math.sqrt(2.0 / fan_in)


def fan_in_uniform(seed: int, stream: int, shape: tuple[int, ...], fan_in: int) -> F64:
    """U(-1/sqrt(fan_in), 1/sqrt(fan_in)), Torch's affine layer."""
    draws = uniforms(seed, domains.INIT, stream, math.prod(shape)).reshape(shape)
    return (2.0 * draws - 1.0) / math.sqrt(fan_in)


def initial_params(layout: ParamLayout, seed: int) -> F32:
    """(layout.size,): convolutions Kaiming normal, affine layers Torch's uniform, BatchNorm scale 1 and shift 0."""
    flat = np.zeros(layout.size, np.float32)
    views = layout.views(flat)
    for stream, spec in enumerate(layout.specs):
        views[spec.name][...] = _draw(layout, spec, seed, stream)
    return flat


def initial_buffers(layout: ParamLayout) -> F32:
    """(layout.size,): running means 0, running variances 1."""
    flat = np.zeros(layout.size, np.float32)
    for name, view in layout.views(flat).items():
        view[...] = 1 if name.endswith("running_var") else 0
    return flat


def _draw(layout: ParamLayout, spec: ParamSpec, seed: int, stream: int) -> F64 | float:
    if len(spec.shape) == 4:
        return kaiming_normal(seed, stream, spec.shape)
    if len(spec.shape) == 2:
        return fan_in_uniform(seed, stream, spec.shape, spec.shape[1])
    weights = next(s for s in layout.specs if s.name == spec.name.rsplit(".", 1)[0] + ".weight")
    if len(weights.shape) == 2:  # an affine layer's bias
        return fan_in_uniform(seed, stream, spec.shape, weights.shape[1])
    return 1.0 if spec.name.endswith(".weight") else 0.0  # BatchNorm
