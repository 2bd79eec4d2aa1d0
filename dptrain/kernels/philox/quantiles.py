"""A table of normal deviates in whole numbers: entry k is the quantile at (k + 1/2) / 4096, in units of 1/4096.

A draw of 12 bits looks up a deviate with |z| < 3.7 and variance 0.9990. Whole numbers, because integer arithmetic has
the same bits everywhere; the quantiles themselves are made without libm (normal.py), so their rounding has, too.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dptrain.kernels.philox.normal import inverse_normal

BITS = 12  #: of a draw, and of the fraction
_DEVIATES = inverse_normal((np.arange(1 << BITS) + 0.5) / (1 << BITS))
QUANTILES: NDArray[np.int16] = np.rint(_DEVIATES * (1 << BITS)).astype(np.int16)
