"""Finding NaN and infinity, and the name of the array they are in."""

from __future__ import annotations

from math import isfinite

import numpy as np

from dptrain.model import ParamLayout, ShardResult
from dptrain.types import F32


def first_not_finite(flat: F32, layout: ParamLayout) -> str:
    """Name of the first array that holds NaN or infinity; "" where all is finite."""
    finite = np.isfinite(flat)
    if finite.all():
        return ""
    place = int(np.argmin(finite))
    for spec, offset in layout.items():
        if offset <= place < offset + spec.size:
            return spec.name
    return f"element {place}"


def fault_of(result: ShardResult, params: ParamLayout, buffers: ParamLayout) -> str:
    """What of a result is not finite, by name; "" where all is finite."""
    return (
        first_not_finite(result.gradient, params)
        or first_not_finite(result.statistics, buffers)
        or ("" if isfinite(result.loss) else "loss")
    )
