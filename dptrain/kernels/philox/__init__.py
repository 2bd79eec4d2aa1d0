"""Counter-based random numbers: every draw is a pure function of (seed, domain, epoch, stream, index)."""

from dptrain.kernels.philox import domains
from dptrain.kernels.philox.jit import blocks, bounded, keyed, permutation, philox4x32, uniforms, words
from dptrain.kernels.philox.normal import inverse_normal, normals
from dptrain.kernels.philox.quantiles import QUANTILES

__all__ = [
    "QUANTILES",
    "blocks",
    "bounded",
    "domains",
    "inverse_normal",
    "keyed",
    "normals",
    "permutation",
    "philox4x32",
    "uniforms",
    "words",
]
