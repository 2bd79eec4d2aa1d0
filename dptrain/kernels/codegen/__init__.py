"""Generators of LLVM code, as Numba intrinsics: register blocks and inner loops. Their callers walk over the images."""
