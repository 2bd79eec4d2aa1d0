"""What tests of kernels that change images share: images, words to draw from, the reference beside the kernel; fma."""

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
        """(n, 4) uint32: what each of n samples has to draw from."""
        return philox.blocks(seed, 98, 0, np.arange(n))

    @staticmethod
    def both(kernel, x, words, *arguments, shape=None):
        """What a kernel makes of images; it is what its reference makes, byte for byte."""
        reference = importlib.import_module(f"dptrain.kernels.reference.{kernel.__module__.split('.')[2]}")
        ref, out = np.empty(shape or x.shape, np.uint8), np.empty(shape or x.shape, np.uint8)
        getattr(reference, kernel.__name__)(x, words, *arguments, ref)
        kernel(x, words, *arguments, out)
        np.testing.assert_array_equal(out, ref)
        return out


def _fma(a, b, c):
    """a * b + c of float32, rounded once. In float64 the product is exact; the sum's lost part, where there is one, is
    kept as an odd last bit (of 53, so that rounding to 24 cannot be misled).
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
