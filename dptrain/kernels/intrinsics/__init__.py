"""LLVM-level blocks, generated through Numba's intrinsics: everything here is a register block, loops are elsewhere."""
