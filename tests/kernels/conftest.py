"""What the tests of kernels share: images, random words, the comparison of a kernel with its reference, and fma."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

from dptrain.kernels import philox


class Drawn:
    """Always the same images and words, from Philox."""

    @staticmethod
    def images(shape):
        """uint8 of this shape."""
        count = int(np.prod(shape))
        return (philox.words(7, 99, 0, 0, count) >> 24).astype(np.uint8).reshape(shape)

    @staticmethod
    def words(seed, n):
        """(n, 4) uint32: the draws of n images."""
        return philox.blocks(seed, 98, 0, np.arange(n))

    @staticmethod
    def both(kernel, x, words, *arguments, shape=None):
        """The output of a kernel, after the check that its reference gives the same bytes."""
        reference = importlib.import_module(f"dptrain.kernels.reference.{kernel.__module__.split('.')[2]}")
        ref, out = np.empty(shape or x.shape, np.uint8), np.empty(shape or x.shape, np.uint8)
        getattr(reference, kernel.__name__)(x, words, *arguments, ref)
        kernel(x, words, *arguments, out)
        np.testing.assert_array_equal(out, ref)
        return out


def _fma(a, b, c):
    """a * b + c of float32, rounded once.

    In float64 the product is exact. If the sum is not, its last bit is set to 1: with 53 bits, the rounding to 24 bits
    is then correct.
    """
    product, c = np.asarray(a, np.float64) * b, np.asarray(c, np.float64)
    total = product + c
    back = total - product
    lost = (product - (total - back)) + (c - back)
    bits = total.view(np.int64)
    inexact = (lost != 0) & (bits & 1 == 0)
    towards = np.where((lost > 0) == (total > 0), 1, -1)
    return np.where(inexact, bits + towards, bits).view(np.float64).astype(np.float32)


@pytest.fixture(scope="session")
def fma():
    """fma(a, b, c): what the kernels do to float32 arrays, one rounding each."""
    return _fma


@pytest.fixture(scope="session")
def drawn():
    """Images and words, the same in every test."""
    return Drawn
