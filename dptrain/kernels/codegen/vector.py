"""Small pieces of LLVM code that all generators use: constants, pointers, vector loads, broadcasts, one fma."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

F32, I32, I64 = ir.FloatType(), ir.IntType(32), ir.IntType(64)


def const(value: int) -> ir.Constant:
    """A 64-bit integer constant."""
    return ir.Constant(I64, value)


def literals(*candidates: Any) -> tuple[int, ...] | None:
    """The values of integer literal types, or None if one is not a literal: Numba then tries again with literals."""
    if not all(isinstance(t, types.IntegerLiteral) for t in candidates):
        return None
    return tuple(t.literal_value for t in candidates)


def pointer(context: Any, builder: ir.IRBuilder, array_type: Any, value: Any, at: Any) -> ir.Value:
    """Address of element `at` of a 1-D array."""
    return builder.gep(context.make_array(array_type)(context, builder, value).data, [at])


def at(builder: ir.IRBuilder, base: ir.Value, *terms: tuple[ir.Value, int]) -> ir.Value:
    """Address of base[sum of index * stride]."""
    for index, stride in terms:
        base = builder.gep(base, [builder.mul(index, const(stride))])
    return base


class Lanes:
    """Operations on vectors of `lanes` float32. Loads and stores assume the alignment of one element only."""

    def __init__(self, builder: ir.IRBuilder, lanes: int) -> None:
        self.builder = builder
        self.lanes = lanes
        self.type = ir.VectorType(F32, lanes)
        self._mask = ir.Constant(ir.VectorType(I32, lanes), [0] * lanes)
        self._undefined = ir.Constant(self.type, ir.Undefined)
        signature = ir.FunctionType(self.type, [self.type] * 3)
        self._fma = cgutils.get_or_insert_function(builder.module, signature, f"llvm.fma.v{lanes}f32")
        self.zero = ir.Constant(self.type, [0.0] * lanes)

    def load(self, base: ir.Value, offset: int) -> ir.Value:
        """`lanes` neighbouring elements from base[offset]."""
        value = self.builder.load(self._vector_pointer(base, offset))
        value.align = 4
        return value

    def store(self, value: ir.Value, base: ir.Value, offset: int) -> None:
        """Writes a vector to base[offset] and its neighbours."""
        self.builder.store(value, self._vector_pointer(base, offset)).align = 4

    def broadcast(self, base: ir.Value, offset: int) -> ir.Value:
        """base[offset] in every lane."""
        scalar = self.builder.load(self.builder.gep(base, [const(offset)]))
        first = self.builder.insert_element(self._undefined, scalar, ir.Constant(I32, 0))
        return self.builder.shuffle_vector(first, self._undefined, self._mask)

    def fma(self, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
        """a * b + c, rounded once."""
        return self.builder.call(self._fma, [a, b, c])

    def accumulators(self, count: int) -> list[ir.Value]:
        """Stack slots with zeros. LLVM keeps them in registers."""
        slots = [cgutils.alloca_once(self.builder, self.type) for _ in range(count)]
        for slot in slots:
            self.builder.store(self.zero, slot)
        return slots

    def accumulate(self, slot: ir.Value, a: ir.Value, b: ir.Value) -> None:
        """slot = a * b + slot, rounded once."""
        self.builder.store(self.fma(a, b, self.builder.load(slot)), slot)

    def _vector_pointer(self, base: ir.Value, offset: int) -> ir.Value:
        return self.builder.bitcast(self.builder.gep(base, [const(offset)]), self.type.as_pointer())
