"""bf16 and the matrix tiles: emulation, definition and (where there is one) instruction give the same bits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dptrain.kernels import amx, isa
from dptrain.kernels.tiles import jit, reference

SPECIAL = np.array(
    [0x00000000, 0x80000000, 0x7F800000, 0xFF800000, 0x7FC00000, 0x7FFFFFFF, 0xFFFFFFFF, 0x7F800001, 0x00000001,
     0x807FFFFF, 0x00800000, 0x7F7FFFFF, 0x3F808000, 0x3F818000, 0x3F808001, 0x3F807FFF, 0x7F7F8000],
    np.uint32,
).view(np.float32)  # fmt: skip
LEAST = 2.0**-126  #: normal number


#: Those this machine can run. MXCSR is only looked for where the level says that this is an x86.
EMULATIONS = {"checked": amx.CHECKED} | ({} if isa.level() == "portable" else {"flushing": amx.FLUSHING})


@pytest.fixture(scope="module", params=EMULATIONS.values(), ids=EMULATIONS.keys())
def emulated(request):
    def dot(c, a, b):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(amx, "tiles", lambda: request.param)
            return jit.dot(c, a, b)

    return dot


def numbers(rng, shape, exponents):
    """bf16 with these exponents (biased), any sign, half of them powers of two."""
    mantissa = rng.integers(0, 128, shape) * rng.integers(0, 2, shape)
    return ((rng.integers(0, 2, shape) << 15) | (rng.choice(exponents, shape) << 7) | mantissa).astype(np.uint16)


def operands(seed, exponents):
    rng = np.random.default_rng(seed)
    a, b = numbers(rng, (16, 32), exponents), numbers(rng, (16, 16, 2), exponents)
    low = rng.integers(0, 1 << 16, (16, 16)).astype(np.uint32)
    return (reference.widen(numbers(rng, (16, 16), exponents)).view(np.uint32) | low).view(np.float32), a, b


def same_bits(x, y):
    """What a NaN carries is not part of the definition."""
    return (x.view(np.uint32) == y.view(np.uint32)) | (np.isnan(x) & np.isnan(y))


#: biased exponents: ordinary numbers; all; products about the least normal number, sums that cancel there; extremes.
RANGES = {
    "ordinary": range(118, 134),
    "all": range(256),
    "products next to the least number": range(58, 70),
    "sums next to it": (0, 1, 2, 63, 64),
    "extremes": (0, 1, 126, 127, 128, 253, 254, 255),
}


@pytest.mark.parametrize("exponents", RANGES.values(), ids=RANGES.keys())
@given(seed=st.integers(0, 2**32))
def test_the_emulation_is_the_documented_instruction(emulated, exponents, seed):
    c, a, b = operands(seed, list(exponents))
    with np.errstate(all="ignore"):
        assert same_bits(emulated(c, a, b), reference.dot(c, a, b)).all()


@pytest.mark.skipif(bool(amx.lacks()), reason=f"no instruction to compare with: this machine lacks {amx.lacks()}")
@pytest.mark.parametrize("exponents", RANGES.values(), ids=RANGES.keys())
@given(seed=st.integers(0, 2**32))
def test_the_instruction_gives_the_bits_of_its_emulations(emulated, exponents, seed):
    c, a, b = operands(seed, list(exponents))
    assert same_bits(jit.dot(c, a, b), emulated(c, a, b)).all()


def after(z, x, y):
    """The tile product with z + x * y in element 0, 0, in this order, and nothing else."""
    c, a, b = np.zeros((16, 16), np.float32), np.zeros((16, 32), np.uint16), np.zeros((16, 16, 2), np.uint16)
    a[0, :3] = reference.narrow(np.float32([1, 0, x]))
    b[:2, 0, 0] = reference.narrow(np.float32([z, y]))
    return c, a, b


def test_a_result_that_is_normal_only_for_want_of_digits_is_flushed(emulated):
    """2^-126 - 2^-150 has 24 digits and is denormal; with the digits denormals have here it is a tie, and rounds up."""
    assert np.float32(np.float64(LEAST) - 2.0**-150) == np.float32(LEAST)
    below = after(LEAST, -(2.0**-75), 2.0**-75)
    assert emulated(*below)[0, 0] == reference.dot(*below)[0, 0] == 0
    almost = after(LEAST, -(2.0**-75), 2.0**-76)  # a tie of 24 digits: to even, 2^-126, which is normal
    assert emulated(*almost)[0, 0] == reference.dot(*almost)[0, 0] == np.float32(LEAST)


def test_every_step_rounds_to_nearest_even_and_the_two_chains_are_added_last(emulated):
    """1 + 2^-24 + 2^-24: in one chain each is lost; one in each chain, they meet first where both chains are small."""
    one, tiny = np.float32(1), np.float32(2.0**-12)
    c, a, b = np.zeros((16, 16), np.float32), np.zeros((16, 32), np.uint16), np.zeros((16, 16, 2), np.uint16)
    a[0, :5] = reference.narrow(np.float32([one, 0, tiny, 0, tiny]))
    b[:3, 0, 0] = reference.narrow(np.float32([one, tiny, tiny]))
    assert emulated(c, a, b)[0, 0] == one
    a[0, :5] = reference.narrow(np.float32([0, 0, tiny, tiny, 0]))
    b[1, 0] = reference.narrow(np.float32([tiny, tiny]))
    c[0, 0] = one
    assert emulated(c, a, b)[0, 0] == one + np.float32(2.0**-23)


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=40))
def test_rounding_is_the_definitions(words):
    x = np.concatenate([SPECIAL, np.array(words, np.uint32).view(np.float32)])
    assert np.array_equal(jit.narrow(x), reference.narrow(x))
    kept = reference.narrow(x)
    assert np.array_equal(jit.widen(kept).view(np.uint32), reference.widen(kept).view(np.uint32))


def test_rounding_keeps_what_must_show():
    found = reference.widen(reference.narrow(SPECIAL))
    assert np.isnan(found[np.isnan(SPECIAL)]).all()
    assert np.isinf(found[np.isinf(SPECIAL)]).all()
    assert np.array_equal(reference.narrow(np.float32([3.4e38])), [0x7F80])  # beyond the largest: infinite
    assert np.array_equal(reference.narrow(np.float32([1 + 2.0**-8, 1 + 3 * 2.0**-8])), [0x3F80, 0x3F82])  # ties


def test_arithmetic_around_a_flushing_product_keeps_its_denormals():
    tiny = np.full((16, 16), np.float32(1e-40))
    jit.dot(tiny, np.zeros((16, 32), np.uint16), np.zeros((16, 16, 2), np.uint16))
    assert (tiny * np.float32(0.5) > 0).all()


def test_what_cannot_use_the_tiles_says_what_it_lacks():
    if amx.tiles() == amx.INSTRUCTIONS:
        assert amx.lacks() == ""
    else:
        assert "amx_tile and amx_bf16" in amx.lacks() or "avx512" in amx.lacks() or "arch_prctl" in amx.lacks()
