"""LLVM-level code, made by intrinsics of Numba: register blocks and their inner loops; images are walked elsewhere."""
