"""Numerical kernels: one folder an operation, reference.py (NumPy, the definition of correct) beside jit.py (Numba).

`fused` holds the engine's passes, `intrinsics` the blocks all of them are made of. The only place that may import numba
or llvmlite. Knows arrays, no networks.
"""
