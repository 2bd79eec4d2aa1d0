"""What the tests of kernels share: images, random words, the comparison of a kernel with its reference, and fma."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

from dptrain.kernels import philox, reference


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
        defined = importlib.import_module(f"dptrain.kernels.reference.{kernel.__module__.split('.')[2]}")
        ref, out = np.empty(shape or x.shape, np.uint8), np.empty(shape or x.shape, np.uint8)
        getattr(defined, kernel.__name__)(x, words, *arguments, ref)
        kernel(x, words, *arguments, out)
        np.testing.assert_array_equal(out, ref)
        return out


@pytest.fixture(scope="session")
def fma():
    """fma(a, b, c): what the kernels do to float32 arrays, one rounding each."""
    return reference.fma


@pytest.fixture(scope="session")
def drawn():
    """Images and words, the same in every test."""
    return Drawn
