"""Normal deviates with the same bits on every CPU: NumPy float64 with + - * / and sqrt only, no libm.

There is one implementation, not two: IEEE elementwise arithmetic in NumPy is specified exactly. `QUANTILES` is a
table of deviates in whole numbers, for kernels that calculate with integers.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dptrain.kernels.philox import uniforms
from dptrain.types import F64, I64

# Wichura, Algorithm AS 241 (PPND16), Applied Statistics 37 (1988) 477-484: numerators and denominators of three
# rational functions of degree 7, constant term first; relative accuracy about 1e-16.
_CENTRE = (
    (
        3.3871328727963666080e0, 1.3314166789178437745e2, 1.9715909503065514427e3, 1.3731693765509461125e4,
        4.5921953931549871457e4, 6.7265770927008700853e4, 3.3430575583588128105e4, 2.5090809287301226727e3,
    ),
    (
        1.0, 4.2313330701600911252e1, 6.8718700749205790830e2, 5.3941960214247511077e3,
        2.1213794301586595867e4, 3.9307895800092710610e4, 2.8729085735721942674e4, 5.2264952788528545610e3,
    ),
)  # fmt: skip
_MIDDLE = (
    (
        1.42343711074968357734e0, 4.63033784615654529590e0, 5.76949722146069140550e0, 3.64784832476320460504e0,
        1.27045825245236838258e0, 2.41780725177450611770e-1, 2.27238449892691845833e-2, 7.74545014278341407640e-4,
    ),
    (
        1.0, 2.05319162663775882187e0, 1.67638483018380384940e0, 6.89767334985100004550e-1,
        1.48103976427480074590e-1, 1.51986665636164571966e-2, 5.47593808499534494600e-4, 1.05075007164441684324e-9,
    ),
)  # fmt: skip
_TAIL = (
    (
        6.65790464350110377720e0, 5.46378491116411436990e0, 1.78482653991729133580e0, 2.96560571828504891230e-1,
        2.65321895265761230930e-2, 1.24266094738807843860e-3, 2.71155556874348757815e-5, 2.01033439929228813265e-7,
    ),
    (
        1.0, 5.99832206555887937690e-1, 1.36929880922735805310e-1, 1.48753612908506148525e-2,
        7.86869131145613259100e-4, 1.84631831751005468180e-5, 1.42151175831644588870e-7, 2.04426310338993978564e-15,
    ),
)  # fmt: skip

_LN2_HIGH = float.fromhex("0x1.62e42fee00000p-1")  # 21 trailing zero bits: times any exponent it is exact
_LN2_LOW = float.fromhex("0x1.a39ef35793c76p-33")
_SQRT_HALF = float.fromhex("0x1.6a09e667f3bcdp-1")


def _polynomial(coefficients: tuple[float, ...], x: F64) -> F64:
    """Horner, constant term first in `coefficients`."""
    y = np.full_like(x, coefficients[-1])
    for c in coefficients[-2::-1]:
        y = y * x + c
    return y


def log(x: F64) -> F64:
    """Natural logarithm of positive normal doubles, within 2 units in the last place for x <= 0.5.

    x = m * 2^e with m in [sqrt(1/2), sqrt(2)), s = (m - 1) / (m + 1), log m = 2 (s + s^3/3 + s^5/5 + ...); |s| < 0.172,
    so twelve terms leave less than 1e-19.
    """
    bits: I64 = x.view(np.int64)
    e = (bits >> 52) - 1022
    m = ((bits & ((1 << 52) - 1)) | (1022 << 52)).view(np.float64)
    small = m < _SQRT_HALF
    m = np.where(small, m + m, m)
    e = np.where(small, e - 1, e).astype(np.float64)
    s = (m - 1.0) / (m + 1.0)
    series = _polynomial(tuple(2.0 / (2 * k + 1) for k in range(12)), s * s)
    return e * _LN2_HIGH + (e * _LN2_LOW + s * series)


def inverse_normal(p: F64) -> F64:
    """The z below which a normal deviate lies with probability p; 0 < p < 1."""
    q = p - 0.5
    r = 0.180625 - q * q
    out = q * _polynomial(_CENTRE[0], r) / _polynomial(_CENTRE[1], r)
    outer = np.flatnonzero(np.abs(q) > 0.425)
    side = q[outer]
    r = np.sqrt(-log(np.where(side < 0.0, p[outer], 1.0 - p[outer])))
    z = np.empty_like(r)
    for pick, shift, (numerator, denominator) in ((r <= 5.0, 1.6, _MIDDLE), (r > 5.0, 5.0, _TAIL)):
        t = r[pick] - shift
        z[pick] = _polynomial(numerator, t) / _polynomial(denominator, t)
    out[outer] = np.where(side < 0.0, -z, z)
    return out


def normals(seed: int, domain: int, stream: int, n: int) -> F64:
    """`n` independent deviates of mean 0 and variance 1, |z| < 8.3; deviate i is made of uniform i of the same stream.

    The last bit of the 53 of a uniform is set, so that p is never 0 or 1 and p and 1 - p are equally likely and exact.
    """
    odd = (uniforms(seed, domain, stream, n) * 2.0**53).astype(np.int64) | 1
    return inverse_normal(odd.astype(np.float64) * 2.0**-53)


BITS = 12  #: of a draw from QUANTILES, and of the fraction of its entries
#: Entry k is the quantile at (k + 1/2) / 4096, in units of 1/4096: |z| < 3.7, variance 0.9990. int16, (4096,).
QUANTILES: NDArray[np.int16] = np.rint(inverse_normal((np.arange(1 << BITS) + 0.5) / (1 << BITS)) * (1 << BITS)).astype(
    np.int16
)
