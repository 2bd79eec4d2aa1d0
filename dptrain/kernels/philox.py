"""Counter-based random numbers (Philox4x32-10), compiled.

Every draw is a function of (seed, domain, epoch, stream, index). reference/philox.py says what each function means.
Every operand of an operation is cast to the same unsigned type, because Numba makes uint64 * int64 a float64 without a
warning.
"""

from __future__ import annotations

from typing import Final, cast

import numpy as np

from dptrain.kernels.compiled import kernel
from dptrain.kernels.reference.philox import Counter, Key
from dptrain.types import F64, I64, U32


class Domain:
    """What random numbers are drawn for: one number per use, so that no two uses share a stream.

    Plain ints, because they are arguments of compiled functions. A number is never used again for something else and
    never changed: the bits of every run depend on it.
    """

    ORDER: Final = 1  #: order of the training images in an epoch
    SPLIT: Final = 2  #: which images are validation
    INIT: Final = 3  #: initial weights; the stream is the number of the array
    CANARY: Final = 4  #: the artificial shard that a worker computes before it is admitted
    SHAPES: Final = 5  #: the procedural data set shapes32: what is in an image; the stream is the image
    SHAPES_NOISE: Final = 6  #: shapes32: pixel noise
    AUGMENT_FLIP: Final = 16  #: augmentations; the stream is the image's number
    AUGMENT_CROP: Final = 17
    AUGMENT_FLIP_VERTICAL: Final = 18
    AUGMENT_WINDOW: Final = 19
    AUGMENT_CUTOUT: Final = 20
    AUGMENT_ROTATE: Final = 21
    AUGMENT_ELASTIC: Final = 22
    AUGMENT_CONTRAST: Final = 23
    AUGMENT_TINT: Final = 24
    AUGMENT_PCA: Final = 25
    AUGMENT_NOISE: Final = 26
    ORDER_REPLACEMENT: Final = 27  #: images of an epoch drawn with replacement
    HOLD_OUT: Final = 28  #: which images, or groups of them, become the test set if the files contain none
    AUGMENT_ALTFLIP: Final = 29
    AUGMENT_REFLECT: Final = 30
    DROPOUT: Final = 64  #: the values a dropout layer zeroes; the epoch is the step, the stream is layer and shard
    PICTURES: Final = 65  #: noise for pictures (saliency, fooling); not used in training


_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = np.uint32(0x9E3779B9), np.uint32(0xBB67AE85)
_HALF = np.uint64(32)
_LOW = 0xFFFFFFFF
_ZERO = cast(int, np.int64(0))  # a literal 0 has a type of its own, which would cause another compilation


@kernel
def philox4x32(counter: Counter, key: Key) -> Counter:
    """Ten rounds; words are integers in [0, 2^32)."""
    c0, c1, c2, c3 = np.uint32(counter[0]), np.uint32(counter[1]), np.uint32(counter[2]), np.uint32(counter[3])
    k0, k1 = np.uint32(key[0]), np.uint32(key[1])
    for _ in range(10):
        p0, p1 = _M0 * np.uint64(c0), _M1 * np.uint64(c2)
        c0 = np.uint32(np.uint32(p1 >> _HALF) ^ c1 ^ k0)
        c2 = np.uint32(np.uint32(p0 >> _HALF) ^ c3 ^ k1)
        c1, c3 = np.uint32(p1), np.uint32(p0)
        k0, k1 = np.uint32(k0 + _W0), np.uint32(k1 + _W1)
    return c0, c1, c2, c3  # type: ignore[return-value]  # Numba hands uint32 back as int


@kernel
def bounded(word: int, bound: int) -> int:
    """An integer in [0, bound) from one word."""
    return np.int64((np.uint64(word) * np.uint64(bound)) >> _HALF)  # type: ignore[return-value]  # int outside


@kernel
def words(seed: int, domain: int, epoch: int, stream: int, n: int) -> U32:
    """The first `n` words of one stream. Returns (n,)."""
    key = (seed & _LOW, seed >> 32)
    out = np.empty((n + 3) // 4 * 4, np.uint32)
    for b in range((n + 3) // 4):
        out[4 * b], out[4 * b + 1], out[4 * b + 2], out[4 * b + 3] = philox4x32((b, stream, epoch, domain), key)
    return out[:n]


@kernel
def keyed(low: int, high: int, n: int) -> U32:
    """`n` words of a stream whose key was drawn from another stream: for draws per pixel. Returns (n,)."""
    key = (np.int64(low), np.int64(high))
    out = np.empty((n + 3) // 4 * 4, np.uint32)
    for b in range((n + 3) // 4):
        counter = (b, _ZERO, _ZERO, _ZERO)
        out[4 * b], out[4 * b + 1], out[4 * b + 2], out[4 * b + 3] = philox4x32(counter, key)  # type: ignore[arg-type]  # Numba's int64 is an int here
    return out[:n]


@kernel
def blocks(seed: int, domain: int, epoch: int, streams: I64) -> U32:
    """The first four words of many streams (one per image). streams: (n,) in [0, 2^32). Returns (n, 4)."""
    key = (seed & _LOW, seed >> 32)
    out = np.empty((streams.size, 4), np.uint32)
    for i in range(streams.size):
        out[i, 0], out[i, 1], out[i, 2], out[i, 3] = philox4x32((_ZERO, streams[i], epoch, domain), key)
    return out


@kernel
def uniforms(seed: int, domain: int, stream: int, n: int) -> F64:
    """`n` doubles in [0, 1), multiples of 2^-53, from two words each: 27 bits of the first above 26 of the second."""
    draws = words(seed, domain, _ZERO, stream, 2 * n)
    out = np.empty(n, np.float64)
    for i in range(n):
        high, low = np.uint64(draws[2 * i] >> np.uint32(5)), np.uint64(draws[2 * i + 1] >> np.uint32(6))
        out[i] = np.float64(high * np.uint64(1 << 26) + low) * 2.0**-53
    return out


@kernel
def permutation(seed: int, domain: int, epoch: int, n: int) -> I64:
    """0 .. n-1 in random order: Fisher-Yates from the end, draw d of stream 0 for place n-1-d. n < 2^32."""
    draws = words(seed, domain, epoch, _ZERO, max(n - 1, 0))
    out = np.arange(n)
    for d in range(draws.size):
        i = n - 1 - d
        j = bounded(draws[d], i + 1)
        out[i], out[j] = out[j], out[i]
    return out
