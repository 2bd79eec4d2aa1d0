"""Numerical kernels. One file per operation holds what Numba compiles; `reference/` holds its definition in NumPy.

`codegen/` generates the inner loops of convolutions and elementwise passes, `fused/` holds the passes of the engine.
This is the only package that may import numba or llvmlite. It works on arrays and knows no networks.
"""
