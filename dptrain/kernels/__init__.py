"""Numerical kernels: one folder an operation, reference.py (NumPy, the definition of correct) beside jit.py (Numba).

The only place that may import numba or llvmlite. Knows arrays, no networks.
"""
