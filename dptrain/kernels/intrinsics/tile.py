"""The eight matrix tiles of Intel AMX as LLVM IR: the instructions, or the same arithmetic with ordinary vectors.

A tile is 16 rows of 64 bytes. Both classes have the same few operations, and everything above them is the same code:
what runs with emulated tiles here reads and writes the same memory with real ones elsewhere.

Intel SDM, volume 2, TDPBF16PS; A 16 x 32 bf16, B 16 rows of 16 pairs, C 16 x 16 float32. For every element m, n of C:

    even = odd = 0
    for k in 0 .. 15:   even = fma(A[m][2k], B[k][2n], even);   odd = fma(A[m][2k + 1], B[k][2n + 1], odd)
    C[m][n] = C[m][n] + (even + odd)

each step rounded to nearest even, denormal inputs taken as zero, denormal results flushed to zero; a result is denormal
if it is after rounding (SDM volume 1, section 4.9.1.5). MXCSR is neither consulted nor changed.

The x86 vector units flush in the same way when MXCSR asks for it (section 11.5.2.2; and 11.5.2.3 for inputs), so there
the emulation sets it around every dot product: 4.6 times as fast as looking at every result (docs/LOG.md).
"""

from __future__ import annotations

import itertools
from typing import TypeAlias

from llvmlite import ir
from numba.core import cgutils

from dptrain.kernels import isa
from dptrain.kernels.amx import FLUSHING, INSTRUCTIONS
from dptrain.kernels.intrinsics.strips import SIDE
from dptrain.kernels.intrinsics.vector import F32, I32, I64, const

_I8 = ir.IntType(8)
_PTR, _VOID = _I8.as_pointer(), ir.VoidType()
_ROW = ir.VectorType(I32, SIDE)  #: a row of a tile
_VEC = ir.VectorType(F32, SIDE)
_FLUSH = 0x9FC0  #: MXCSR: denormals are zeros, to nearest even, no exception raised, flush to zero
_NORMAL = 0x00800000  #: bits of the least normal number, 2^-126
_SCALE = float(2**32)


def tiles(builder: ir.IRBuilder, amx: int) -> Tiles:
    """What `amx.tiles()` names."""
    return Instructions(builder) if amx == INSTRUCTIONS else Emulation(builder, flushing=amx == FLUSHING)


class Instructions:
    """Tile registers of the CPU. `begin` before the first use in a thread, and `end` after the last one."""

    def __init__(self, builder: ir.IRBuilder) -> None:
        self._builder = builder

    def begin(self) -> None:
        """Palette 1: eight tiles of 16 rows of 64 bytes."""
        layout = bytearray(64)
        layout[0] = 1
        layout[16:32] = bytes([64, 0]) * 8
        layout[48:56] = bytes([16]) * 8
        text = ir.Constant(ir.ArrayType(_I8, 64), layout)
        place = cgutils.global_constant(self._builder.module, "tile_configuration", text)
        self._call("llvm.x86.ldtilecfg", (_PTR, self._builder.bitcast(place, _PTR)))

    def end(self) -> None:
        """Back to the state in which the system has nothing to save."""
        self._call("llvm.x86.tilerelease")

    def zero(self, tile: int) -> None:
        """Tile = 0."""
        self._call("llvm.x86.tilezero", _tile(tile))

    def load(self, tile: int, place: ir.Value, stride: int) -> None:
        """Tile = 16 rows from memory, `stride` bytes from one to the next."""
        self._call("llvm.x86.tileloadd64", _tile(tile), (_PTR, self._bytes(place)), (I64, const(stride)))

    def store(self, tile: int, place: ir.Value, stride: int) -> None:
        """The opposite of load."""
        self._call("llvm.x86.tilestored64", _tile(tile), (_PTR, self._bytes(place)), (I64, const(stride)))

    def dot(self, c: int, a: int, b: int) -> None:
        """TDPBF16PS."""
        self._call("llvm.x86.tdpbf16ps", _tile(c), _tile(a), _tile(b))

    def _bytes(self, place: ir.Value) -> ir.Value:
        return self._builder.bitcast(place, _PTR)

    def _call(self, name: str, *arguments: tuple[ir.Type, ir.Value]) -> None:
        kind = ir.FunctionType(_VOID, [t for t, _ in arguments])
        self._builder.call(cgutils.get_or_insert_function(self._builder.module, kind, name), [v for _, v in arguments])


class Emulation:
    """Tile registers on the stack. flushing: denormals are left to MXCSR."""

    def __init__(self, builder: ir.IRBuilder, *, flushing: bool) -> None:
        self._builder = builder
        self._flushing = flushing
        self._registers: dict[int, ir.Value] = {}

    def begin(self) -> None:
        """Nothing to do."""

    def end(self) -> None:
        """Nothing to do."""

    def zero(self, tile: int) -> None:
        """As Instructions."""
        b = self._builder
        for row in range(SIDE):
            b.store(ir.Constant(_ROW, [0] * SIDE), self._row(tile, row)).align = 64

    def load(self, tile: int, place: ir.Value, stride: int) -> None:
        """As Instructions."""
        self._copy(self._register(tile), 64, place, stride)

    def store(self, tile: int, place: ir.Value, stride: int) -> None:
        """As Instructions."""
        self._copy(place, stride, self._register(tile), 64)

    def dot(self, c: int, a: int, b: int) -> None:
        """As Instructions."""
        registers = [self._register(tile) for tile in (c, a, b)]
        function = _flushing_function if self._flushing else _dot_function
        self._builder.call(function(self._builder.module), registers)

    def _register(self, tile: int) -> ir.Value:
        if tile not in self._registers:
            self._registers[tile] = cgutils.alloca_once(self._builder, ir.ArrayType(_ROW, SIDE))
        return self._builder.bitcast(self._registers[tile], _PTR)

    def _row(self, tile: int, row: int) -> ir.Value:
        return _vector(self._builder, self._register(tile), const(row * 64))

    def _copy(self, target: ir.Value, step: int, source: ir.Value, stride: int) -> None:
        places = [self._builder.bitcast(target, _PTR), const(step), self._builder.bitcast(source, _PTR), const(stride)]
        self._builder.call(_copy_function(self._builder.module), places)


Tiles: TypeAlias = Instructions | Emulation


def _tile(number: int) -> tuple[ir.Type, ir.Constant]:
    return _I8, ir.Constant(_I8, number)


def _vector(builder: ir.IRBuilder, base: ir.Value, offset: ir.Value) -> ir.Value:
    return builder.bitcast(builder.gep(base, [offset]), _ROW.as_pointer())


def _function(module: ir.Module, name: str, arguments: list[ir.Type]) -> tuple[ir.Function, ir.IRBuilder | None]:
    """The module's own function of this name, and a builder at its beginning where it has no body yet."""
    found = module.globals.get(name)
    if found is not None:
        return found, None
    made = ir.Function(module, ir.FunctionType(_VOID, arguments), name)
    made.linkage = "internal"
    made.attributes.add("noinline")
    return made, ir.IRBuilder(made.append_basic_block("entry"))


def _copy_function(module: ir.Module) -> ir.Function:
    """(target, step, source, stride): 16 rows of 64 bytes."""
    function, b = _function(module, "tile_copy", [_PTR, I64, _PTR, I64])
    if b is not None:
        target, step, source, stride = function.args
        with cgutils.for_range(b, const(SIDE)) as row:
            value = b.load(_vector(b, source, b.mul(row.index, stride)))
            value.align = 1
            b.store(value, _vector(b, target, b.mul(row.index, step))).align = 1
        b.ret_void()
    return function


def _dot_function(module: ir.Module) -> ir.Function:
    """(c, a, b): TDPBF16PS on three tiles in memory."""
    function, b = _function(module, "tile_dot", [_PTR, _PTR, _PTR])
    if b is not None:
        _Dot(b, *function.args).emit()
    return function


def _flushing_function(module: ir.Module) -> ir.Function:
    """(c, a, b): TDPBF16PS on three tiles in memory, denormals flushed by the vector units.

    What computes is a function of its own: LLVM knows nothing of MXCSR, and moves arithmetic, but no such call, past
    its setting.
    """
    function, b = _function(module, "tile_dot_flushing", [_PTR, _PTR, _PTR])
    if b is not None:
        inner, body = _function(module, "tile_dot_flushed", [_PTR, _PTR, _PTR])
        if body is not None:
            _flushed_dot(body, *inner.args)
        kept, wanted = b.alloca(I32), b.alloca(I32)
        b.store(ir.Constant(I32, _FLUSH), wanted)
        _control(b, "st", kept)
        _control(b, "ld", wanted)
        b.call(inner, function.args)
        _control(b, "ld", kept)
        b.ret_void()
    return function


def _control(b: ir.IRBuilder, way: str, place: ir.Value) -> None:
    kind = ir.FunctionType(_VOID, [_PTR])
    name = f"llvm.x86.sse.{way}mxcsr"
    b.call(cgutils.get_or_insert_function(b.module, kind, name), [b.bitcast(place, _PTR)])


def _flushed_dot(b: ir.IRBuilder, c: ir.Value, a: ir.Value, pairs: ir.Value) -> None:
    """Some rows at a time, as many as there are registers for their two chains."""
    rows = 8 if isa.level() == "avx512" else 2
    fma = cgutils.get_or_insert_function(b.module, ir.FunctionType(_VEC, [_VEC] * 3), "llvm.fma.v16f32")
    chains = [[cgutils.alloca_once(b, _VEC) for _ in range(2)] for _ in range(rows)]
    with cgutils.for_range(b, const(SIDE // rows)) as group:
        first = b.mul(group.index, const(rows * 64))
        for chain in itertools.chain(*chains):
            b.store(ir.Constant(_VEC, [0.0] * SIDE), chain)
        with cgutils.for_range(b, const(SIDE)) as k:
            halves = _halves(b, b.load(_vector(b, pairs, b.mul(k.index, const(64)))))
            column = b.add(first, b.mul(k.index, const(4)))
            for row, both in enumerate(chains):
                at = b.add(column, const(row * 64))
                pair = b.load(b.bitcast(b.gep(a, [at]), I32.as_pointer()))
                for chain, half, value in zip(both, halves, _halves(b, _everywhere(b, pair)), strict=True):
                    b.store(b.call(fma, [value, half, b.load(chain)]), chain)
        for row, both in enumerate(chains):
            place = _vector(b, c, b.add(first, const(row * 64)))
            total = b.fadd(b.bitcast(b.load(place), _VEC), b.fadd(b.load(both[0]), b.load(both[1])))
            b.store(b.bitcast(total, _ROW), place)
    b.ret_void()


def _everywhere(b: ir.IRBuilder, pair: ir.Value) -> ir.Value:
    first = b.insert_element(ir.Constant(_ROW, ir.Undefined), pair, ir.Constant(I32, 0))
    return b.shuffle_vector(first, first, ir.Constant(_ROW, [0] * SIDE))


def _halves(b: ir.IRBuilder, pairs: ir.Value) -> tuple[ir.Value, ir.Value]:
    """The even and the odd bf16 of every pair as float32."""
    parts = b.shl(pairs, _ints(16)), b.and_(pairs, _ints(0xFFFF0000))
    return b.bitcast(parts[0], _VEC), b.bitcast(parts[1], _VEC)


class _Dot:
    """The body of the emulation where nothing flushes: every result is looked at."""

    def __init__(self, builder: ir.IRBuilder, c: ir.Value, a: ir.Value, b: ir.Value) -> None:
        self._b, self._c, self._a, self._pairs = builder, c, a, b
        module = builder.module
        self._fma = cgutils.get_or_insert_function(module, ir.FunctionType(_VEC, [_VEC] * 3), "llvm.fma.v16f32")
        any_lane = ir.FunctionType(ir.IntType(1), [ir.VectorType(ir.IntType(1), SIDE)])
        self._any = cgutils.get_or_insert_function(module, any_lane, "llvm.vector.reduce.or.v16i1")

    def emit(self) -> None:
        b = self._b
        halves = [cgutils.alloca_once(b, ir.ArrayType(_VEC, SIDE)) for _ in range(2)]
        with cgutils.for_range(b, const(SIDE)) as k:
            row = b.load(_vector(b, self._pairs, b.mul(k.index, const(64))))
            for half, values in zip(halves, self._split(row), strict=True):
                b.store(values, b.gep(half, [const(0), k.index]))
        with cgutils.for_range(b, const(SIDE)) as m:
            self._row(m.index, halves)
        b.ret_void()

    def _row(self, m: ir.Value, halves: list[ir.Value]) -> None:
        b = self._b
        chains = [cgutils.alloca_once(b, _VEC) for _ in range(2)]
        for chain in chains:
            b.store(ir.Constant(_VEC, [0.0] * SIDE), chain)
        with cgutils.for_range(b, const(SIDE)) as k:
            at = b.add(b.mul(m, const(64)), b.mul(k.index, const(4)))
            pair = b.load(b.bitcast(b.gep(self._a, [at]), I32.as_pointer()))
            for chain, half, value in zip(chains, halves, self._split(_everywhere(b, pair)), strict=True):
                b.store(self._product(value, b.load(b.gep(half, [const(0), k.index])), b.load(chain)), chain)
        place = _vector(b, self._c, b.mul(m, const(64)))
        before = b.bitcast(self._flushed(b.load(place)), _VEC)
        both = self._sum(b.load(chains[0]), b.load(chains[1]))
        b.store(b.bitcast(self._sum(before, both), _ROW), place)

    def _split(self, pairs: ir.Value) -> tuple[ir.Value, ir.Value]:
        """The even and the odd bf16 of every pair as float32, denormals as zeros."""
        b = self._b
        even, odd = (self._flushed(b.bitcast(half, _ROW)) for half in _halves(b, pairs))
        return b.bitcast(even, _VEC), b.bitcast(odd, _VEC)

    def _flushed(self, bits: ir.Value) -> ir.Value:
        b = self._b
        tiny = b.icmp_unsigned("<", b.and_(bits, _ints(0x7FFFFFFF)), _ints(_NORMAL))
        return b.select(tiny, b.and_(bits, _ints(0x80000000)), bits)

    def _sum(self, x: ir.Value, y: ir.Value) -> ir.Value:
        """x + y: a sum below the normal numbers is exact, so that there is nothing to round before it is flushed."""
        return self._b.bitcast(self._flushed(self._b.bitcast(self._b.fadd(x, y), _ROW)), _VEC)

    def _product(self, x: ir.Value, y: ir.Value, z: ir.Value) -> ir.Value:
        """fma(x, y, z). Only where a result is 2^-126 or less, but not 0, is there anything to find out."""
        b = self._b
        result = b.call(self._fma, [x, y, z])
        slot = cgutils.alloca_once(b, _VEC)
        b.store(result, slot)
        size = b.and_(b.bitcast(result, _ROW), _ints(0x7FFFFFFF))
        doubtful = b.icmp_unsigned("<", b.sub(size, _ints(1)), _ints(_NORMAL))
        with b.if_then(b.call(self._any, [doubtful]), likely=False):
            b.store(self._tiny_flushed(x, y, z, (result, doubtful)), slot)
        return b.load(slot)

    def _tiny_flushed(self, x: ir.Value, y: ir.Value, z: ir.Value, found: tuple[ir.Value, ir.Value]) -> ir.Value:
        """Rounds once more with room below: the same product and sum 2^32 times as large, where nothing is denormal.

        Where |x y + z| is about 2^-126, z is small (or it would be a multiple of more than that, as x y is), so that
        z 2^32 is finite; so is the factor that is scaled, being less than 1, or beside one that is not.
        """
        b, (result, doubtful) = self._b, found
        scale = ir.Constant(_VEC, [_SCALE] * SIDE)
        below_one = b.icmp_unsigned("<", b.and_(b.bitcast(x, _ROW), _ints(0x7FFFFFFF)), _ints(0x3F800000))
        x, y = b.select(below_one, b.fmul(x, scale), x), b.select(below_one, y, b.fmul(y, scale))
        large = b.and_(b.bitcast(b.call(self._fma, [x, y, b.fmul(z, scale)]), _ROW), _ints(0x7FFFFFFF))
        tiny = b.and_(doubtful, b.icmp_unsigned("<", large, _ints(_NORMAL + (32 << 23))))
        bits = b.bitcast(result, _ROW)
        return b.bitcast(b.select(tiny, b.and_(bits, _ints(0x80000000)), bits), _VEC)


def _ints(value: int) -> ir.Constant:
    return ir.Constant(_ROW, [value] * SIDE)
