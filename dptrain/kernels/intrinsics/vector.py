"""Small LLVM pieces shared by the register blocks: constants, pointers, vector loads, broadcasts, one fma.

A line of memory is float32, or bf16 in 16-bit integers: the pointer's type says which, arithmetic is float32 in both.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

F32, I16, I32, I64 = ir.FloatType(), ir.IntType(16), ir.IntType(32), ir.IntType(64)


def const(value: int) -> ir.Constant:
    """A 64-bit integer constant."""
    return ir.Constant(I64, value)


def literals(*candidates: Any) -> tuple[int, ...] | None:
    """The values of integer literal types, or None where one is not a literal: Numba then retries with literals."""
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
        self._ints = ir.VectorType(I32, lanes)
        self._mask = ir.Constant(ir.VectorType(I32, lanes), [0] * lanes)
        self._undefined = ir.Constant(self.type, ir.Undefined)
        signature = ir.FunctionType(self.type, [self.type] * 3)
        self._fma = cgutils.get_or_insert_function(builder.module, signature, f"llvm.fma.v{lanes}f32")
        self.zero = ir.Constant(self.type, [0.0] * lanes)

    def load(self, base: ir.Value, offset: int) -> ir.Value:
        """`lanes` neighbouring elements from base[offset]."""
        b, place = self.builder, self._vector_pointer(base, offset)
        value = b.load(place)
        if base.type.pointee == F32:
            value.align = 4
            return value
        value.align = 2
        wide = b.shl(b.zext(value, self._ints), self._int(16))
        return b.bitcast(wide, self.type)

    def store(self, value: ir.Value, base: ir.Value, offset: int) -> ir.Value:
        """The opposite of load. Returns what a load would now give: value itself, or value rounded to bf16."""
        b, place = self.builder, self._vector_pointer(base, offset)
        if base.type.pointee == F32:
            b.store(value, place).align = 4
            return value
        kept = self._bf16_bits(value)
        b.store(b.trunc(b.lshr(kept, self._int(16)), ir.VectorType(I16, self.lanes)), place).align = 2
        return b.bitcast(kept, self.type)

    def _bf16_bits(self, value: ir.Value) -> ir.Value:
        """The upper halves of value rounded to bf16, to nearest even; the lower halves are zero.

        As the SDM defines VCVTNEPS2BF16: denormals become zeros of their sign, a NaN stays one and becomes quiet.
        """
        b = self.builder
        bits = b.bitcast(value, self._ints)
        odd = b.and_(b.lshr(bits, self._int(16)), self._int(1))
        rounded = b.add(bits, b.add(odd, self._int(0x7FFF)))
        tiny = b.icmp_unsigned("==", b.and_(bits, self._int(0x7F800000)), self._int(0))
        rounded = b.select(tiny, b.and_(bits, self._int(0x80000000)), rounded)
        nan = b.fcmp_unordered("uno", value, value)
        rounded = b.select(nan, b.or_(bits, self._int(0x00400000)), rounded)
        return b.and_(rounded, self._int(0xFFFF0000))

    def _int(self, value: int) -> ir.Constant:
        return ir.Constant(self._ints, [value] * self.lanes)

    def broadcast(self, base: ir.Value, offset: int) -> ir.Value:
        """base[offset] in every lane."""
        scalar = self.builder.load(self.builder.gep(base, [const(offset)]))
        first = self.builder.insert_element(self._undefined, scalar, ir.Constant(I32, 0))
        return self.builder.shuffle_vector(first, self._undefined, self._mask)

    def fma(self, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
        """a * b + c, rounded once."""
        return self.builder.call(self._fma, [a, b, c])

    def accumulators(self, count: int) -> list[ir.Value]:
        """Zeros that stay in registers: LLVM lifts the stack slots."""
        slots = [cgutils.alloca_once(self.builder, self.type) for _ in range(count)]
        for slot in slots:
            self.builder.store(self.zero, slot)
        return slots

    def accumulate(self, slot: ir.Value, a: ir.Value, b: ir.Value) -> None:
        """slot = a * b + slot, rounded once."""
        self.builder.store(self.fma(a, b, self.builder.load(slot)), slot)

    def _vector_pointer(self, base: ir.Value, offset: int) -> ir.Value:
        vector = ir.VectorType(base.type.pointee, self.lanes)
        return self.builder.bitcast(self.builder.gep(base, [const(offset)]), vector.as_pointer())
