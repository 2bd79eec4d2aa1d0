"""Powers and a cosine made of + - * / only. Those of libm differ between machines in the last bit."""

from __future__ import annotations

_PI = 3.141592653589793  #: the double nearest to pi


def power(base: float, exponent: int) -> float:
    """base ** exponent by repeated squaring; exponent >= 0."""
    result = 1.0
    while exponent:
        if exponent & 1:
            result *= base
        base *= base
        exponent >>= 1
    return result


def cos_pi(x: float) -> float:
    """cos(pi * x) for 0 <= x <= 1, in IEEE double arithmetic in the order written here.

    The argument is reduced to [0, 1/4] exactly (the differences below are exact by Sterbenz' lemma for x >= 1/4), then
    a Taylor series follows, whose first neglected term is below 1e-19. Within 4e-16 of the true value.
    """
    if not 0.0 <= x <= 1.0:
        raise ValueError(f"cos_pi({x}): the argument must lie in [0, 1]")
    if x > 0.5:
        return -cos_pi(1.0 - x)
    if x > 0.25:
        t = _PI * (0.5 - x)
        return t * _series(t * t, first=2)  # cos(pi/2 - t) = sin t
    t = _PI * x
    return _series(t * t, first=1)


def _series(square: float, first: int) -> float:
    """1 - s/(f(f+1)) + s^2/(f(f+1)(f+2)(f+3)) - ..., Horner from the ninth term: cos t (f = 1), sin t / t (f = 2)."""
    value = 1.0
    for k in range(first + 16, first - 1, -2):
        value = 1.0 - square / (k * (k + 1)) * value
    return value
