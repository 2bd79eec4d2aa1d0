"""Chooses between an operation's two twins by dtype: float32 -> compiled, float64 -> reference (gradient checks)."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np

P = ParamSpec("P")
R = TypeVar("R")


def twin(jit: Callable[..., R], reference: Callable[P, R]) -> Callable[P, R]:
    """A function with the reference's signature that looks at the dtype of its first argument."""

    @wraps(reference)
    def dispatch(*args: Any, **kwargs: Any) -> R:  # noqa: ANN401  # jit and reference take what they take
        dtype = args[0].dtype
        if dtype == np.float32:
            return jit(*args, **kwargs)
        if dtype == np.float64:
            return reference(*args, **kwargs)
        raise TypeError(f"{reference.__name__} takes float32 or float64 arrays, not {dtype}")

    return dispatch
