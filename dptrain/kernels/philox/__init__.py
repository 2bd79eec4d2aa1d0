"""Counter-based random numbers: every draw is a pure function of (seed, domain, epoch, stream, index)."""

from dptrain.kernels.philox import domains
from dptrain.kernels.philox.jit import blocks, bounded, permutation, philox4x32, uniforms, words
from dptrain.kernels.philox.normal import inverse_normal, normals

__all__ = [
    "blocks",
    "bounded",
    "domains",
    "inverse_normal",
    "normals",
    "permutation",
    "philox4x32",
    "uniforms",
    "words",
]
