"""Noise in NumPy, one image after the other: the definition of correct. Integers only, so the same bits everywhere."""

from __future__ import annotations

import numpy as np

from dptrain.kernels.philox.quantiles import BITS, QUANTILES
from dptrain.kernels.philox.reference import bounded, keyed
from dptrain.types import U8, U32


def noise(images: U8, words: U32, strengths: tuple[int, int, int], out: U8) -> None:
    """One of three kinds for each image, equally likely among those whose strength is not 0; the form of augment.

    strengths: salt-and-pepper, the percentage of values that become 0 or 255, both equally often; gaussian, the
    standard deviation that is added; speckle, the standard deviation as a percentage of the value itself.
    The first two words key a Philox stream; value j of an image, in C order, gets half j of it, low halves first.
    """
    salt, gaussian, speckle = strengths
    kinds = [kind for kind, strength in enumerate(strengths) if strength > 0]
    cut, share = 2 * ((salt * 2**15 + 50) // 100), (speckle * 2**16 + 50) // 100
    for i, image in enumerate(images):
        stream = keyed(int(words[i, 0]), int(words[i, 1]), (image.size + 1) // 2)
        draws = stream.astype("<u4").view("<u2")[: image.size].reshape(image.shape)
        x, z = image.astype(np.int64), QUANTILES[draws >> (16 - BITS)].astype(np.int64)
        match kinds[bounded(int(words[i, 2]), len(kinds))]:
            case 0:
                changed = np.where(draws < cut // 2, 0, np.where(draws < cut, 255, x))
            case 1:
                changed = x + ((gaussian * z + 2**11) >> 12)
            case _:
                changed = x + ((x * share * z + 2**27) >> 28)
        out[i] = np.clip(changed, 0, 255)
