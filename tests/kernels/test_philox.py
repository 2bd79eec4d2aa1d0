"""Philox: published vectors, compiled against the reference, and the statistics of what is drawn."""

from __future__ import annotations

import hashlib
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dptrain.kernels import philox
from dptrain.kernels.philox import Domain
from dptrain.kernels.reference import philox as reference

WORD = 0xFFFFFFFF

# Random123, tests/kat_vectors, lines "philox4x32 10": counter, key, result.
KNOWN_ANSWERS = [
    "00000000 00000000 00000000 00000000 00000000 00000000 6627e8d5 e169c58d bc57ac4c 9b00dbd8",
    "ffffffff ffffffff ffffffff ffffffff ffffffff ffffffff 408f276d 41c83b0e a20bc7c6 6d5451fd",
    "243f6a88 85a308d3 13198a2e 03707344 a4093822 299f31d0 d16cfe09 94fdcceb 5001e420 24126ea1",
]

seeds = st.integers(0, 2**63 - 1)
numbers = st.integers(0, WORD)


@pytest.mark.parametrize("line", KNOWN_ANSWERS)
@pytest.mark.parametrize("philox4x32", [philox.philox4x32, reference.philox4x32], ids=["jit", "reference"])
def test_the_published_test_vectors_are_reproduced(line, philox4x32):
    w = [int(word, 16) for word in line.split()]
    assert philox4x32(tuple(w[:4]), tuple(w[4:6])) == tuple(w[6:])


@given(seed=seeds, domain=numbers, epoch=numbers, stream=numbers, n=st.integers(0, 13))
def test_words_are_those_of_the_reference_for_any_stream(seed, domain, epoch, stream, n):
    got = philox.words(seed, domain, epoch, stream, n)
    assert got.dtype == np.uint32
    assert got.tolist() == reference.words(seed, domain, epoch, stream, n).tolist()


@given(seed=seeds, domain=numbers, epoch=numbers, streams=st.lists(numbers, max_size=6))
def test_blocks_are_the_first_four_words_of_each_stream(seed, domain, epoch, streams):
    got = philox.blocks(seed, domain, epoch, np.array(streams, np.int64))
    assert got.shape == (len(streams), 4)
    assert got.tolist() == [reference.words(seed, domain, epoch, s, 4).tolist() for s in streams]
    assert got.tolist() == reference.blocks(seed, domain, epoch, np.array(streams, np.int64)).tolist()


@given(low=numbers, high=numbers, n=st.integers(0, 13))
def test_a_key_of_its_own_names_the_stream_of_that_seed(low, high, n):
    got = philox.keyed(low, high, n)
    assert got.tolist() == reference.keyed(low, high, n).tolist()
    assert got.tolist() == reference.words(low | high << 32, 0, 0, 0, n).tolist()


def test_each_argument_names_another_stream():
    keys = [(s, d, e, i) for s in (0, 1, 2**32, 2**62) for d in (1, 2) for e in (0, 1) for i in (0, 1, 7)]
    assert len({philox.words(*key, 4).tobytes() for key in keys}) == len(keys)


def test_a_longer_draw_begins_with_the_shorter_one():
    assert philox.words(3, 1, 2, 5, 100)[:37].tolist() == philox.words(3, 1, 2, 5, 37).tolist()


def test_domains_are_distinct():
    values = [v for k, v in vars(Domain).items() if k.isupper()]
    assert len(values) >= 6
    assert len(set(values)) == len(values)


@given(word=numbers, bound=st.integers(1, WORD))
def test_bounded_is_the_reference_and_below_its_bound(word, bound):
    got = philox.bounded(word, bound)
    assert got == reference.bounded(word, bound)
    assert 0 <= got < bound


def test_bounded_reaches_both_ends():
    assert philox.bounded(0, 9) == 0
    assert philox.bounded(WORD, 9) == 8


@given(seed=seeds, stream=numbers, n=st.integers(0, 9))
def test_uniforms_have_the_bits_of_the_reference(seed, stream, n):
    assert philox.uniforms(seed, 3, stream, n).tobytes() == reference.uniforms(seed, 3, stream, n).tobytes()


def test_uniforms_fill_the_unit_interval_evenly():
    u = philox.uniforms(1, Domain.INIT, 0, 100_000)
    assert u.min() >= 0.0
    assert u.max() < 1.0
    counts = np.bincount((u * 100).astype(int), minlength=100)
    chi2 = float(((counts - 1000) ** 2 / 1000).sum())
    assert 50 < chi2 < 160  # 99 degrees of freedom: mean 99, standard deviation 14


@given(seed=seeds, epoch=numbers, n=st.integers(0, 60))
def test_permutation_is_the_reference_and_holds_every_number_once(seed, epoch, n):
    got = philox.permutation(seed, 1, epoch, n)
    assert got.dtype == np.int64
    assert got.tolist() == reference.permutation(seed, 1, epoch, n).tolist()
    assert sorted(got.tolist()) == list(range(n))


def test_every_order_of_four_is_equally_likely():
    counts = dict.fromkeys(permutations(range(4)), 0)
    for epoch in range(24_000):
        counts[tuple(philox.permutation(0, 1, epoch, 4).tolist())] += 1
    chi2 = sum((c - 1000) ** 2 / 1000 for c in counts.values())
    assert chi2 < 49.7  # 23 degrees of freedom: exceeded by chance once in a thousand; the seed is fixed


def test_the_bits_of_an_order_never_change():
    # The order of the images of every published run depends on it.
    order = hashlib.sha256(philox.permutation(42, Domain.ORDER, 3, 10_000).tobytes()).hexdigest()
    assert order == "a83a8405983939385db03a5dfdcb859d82a1534583bde8e21513dec1d48ad98a"


def test_one_compilation_serves_every_call_from_python_and_from_kernels():
    philox.permutation(0, 1, 0, 4)
    philox.uniforms(0, 1, 0, 4)
    philox.words(2**63 - 1, Domain.SHAPES, 2**32 - 1, 2**32 - 1, 5)
    assert len(philox.words.signatures) == 1
