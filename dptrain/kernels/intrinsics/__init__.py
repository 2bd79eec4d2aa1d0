"""LLVM-level code, made by Numba's intrinsics: register blocks and their inner loops; loops over images are elsewhere."""
