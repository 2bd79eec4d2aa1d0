"""Philox4x32-10 and what is drawn from it, in plain Python integers: the definition.

Counter-based: block b of the stream (seed, domain, epoch, stream) is philox4x32(counter, key) with

    key     = (seed mod 2^32, seed div 2^32)                  0 <= seed < 2^63
    counter = (b, stream, epoch, domain)                      each in [0, 2^32)

and word d of the stream is word d mod 4 of block d div 4. Every (seed, domain, epoch, stream) is a separate
stream, every draw can be computed without the ones before it, and no generator has a position. The
domains are in kernels/philox.py.

Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC11, section 3.3 (Random123).
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from dptrain.types import F64, I64, U32

Counter: TypeAlias = tuple[int, int, int, int]
Key: TypeAlias = tuple[int, int]

MASK = 0xFFFFFFFF


def philox4x32(counter: Counter, key: Key) -> Counter:
    """Ten rounds; words are integers in [0, 2^32)."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ k0, p1 & MASK, (p0 >> 32) ^ c3 ^ k1, p0 & MASK
        k0, k1 = (k0 + 0x9E3779B9) & MASK, (k1 + 0xBB67AE85) & MASK
    return c0, c1, c2, c3


def bounded(word: int, bound: int) -> int:
    """An integer in [0, bound) from one word: word * bound / 2^32, rounded down.

    Not exactly uniform: floor or ceil(2^32 / bound) of the 2^32 words give each value, so its probability differs from
    1 / bound by less than 2^-32 (for a bound of 50,000 by 1 part in 80,000). Rejection would be exact, but a draw would
    then take more than one word. 1 <= bound < 2^32.
    """
    return (word * bound) >> 32


def words(seed: int, domain: int, epoch: int, stream: int, n: int) -> U32:
    """The first `n` words of one stream. Returns (n,)."""
    key = (seed & MASK, seed >> 32)
    out = [philox4x32((b, stream, epoch, domain), key) for b in range((n + 3) // 4)]
    return np.array(out, np.uint32).reshape(-1)[:n]


def keyed(low: int, high: int, n: int) -> U32:
    """`n` words of a stream whose key was drawn from another stream: for draws per pixel. Returns (n,)."""
    return words(low | high << 32, 0, 0, 0, n)


def blocks(seed: int, domain: int, epoch: int, streams: I64) -> U32:
    """The first four words of many streams (one per image). streams: (n,) in [0, 2^32). Returns (n, 4)."""
    return np.array([words(seed, domain, epoch, int(s), 4) for s in streams], np.uint32).reshape(-1, 4)


def uniforms(seed: int, domain: int, stream: int, n: int) -> F64:
    """`n` doubles in [0, 1), multiples of 2^-53, from two words each: 27 bits of the first above 26 of the second."""
    pairs = words(seed, domain, 0, stream, 2 * n).reshape(n, 2).astype(np.uint64)
    bits = (pairs[:, 0] >> np.uint64(5)) * np.uint64(1 << 26) + (pairs[:, 1] >> np.uint64(6))
    return bits.astype(np.float64) * 2.0**-53


def permutation(seed: int, domain: int, epoch: int, n: int) -> I64:
    """0 .. n-1 in random order: Fisher-Yates from the end, draw d of stream 0 for place n-1-d. n < 2^32.

    Every order is equally likely up to the bias of `bounded`: each factor of its probability is off by less than
    n * 2^-32 relative, at n = 50,000 one part in 80,000.
    """
    draws = words(seed, domain, epoch, 0, max(n - 1, 0))
    out = list(range(n))
    for d, word in enumerate(draws):
        i = n - 1 - d
        j = bounded(int(word), i + 1)
        out[i], out[j] = out[j], out[i]
    return np.array(out, np.int64)
