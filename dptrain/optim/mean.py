"""Running means of a gradient and of its squares, in place: what the adaptive rules are made of."""

from __future__ import annotations

import numpy as np

from dptrain.types import F32


def move(mean: F32, rate: float, value: F32, scratch: F32) -> None:
    """mean = rate * mean + (1 - rate) * value."""
    np.multiply(mean, np.float32(rate), out=mean)
    np.multiply(value, np.float32(1.0 - rate), out=scratch)
    np.add(mean, scratch, out=mean)


def move_square(mean: F32, rate: float, value: F32, scratch: F32) -> None:
    """mean = rate * mean + (1 - rate) * value * value; the factor is multiplied first, as in PyTorch."""
    np.multiply(mean, np.float32(rate), out=mean)
    np.multiply(value, np.float32(1.0 - rate), out=scratch)
    np.multiply(scratch, value, out=scratch)
    np.add(mean, scratch, out=mean)


def power(base: float, exponent: int) -> float:
    """base ** exponent by squaring: libm's pow differs between machines in the last bit."""
    result = 1.0
    while exponent:
        if exponent & 1:
            result *= base
        base *= base
        exponent >>= 1
    return result
