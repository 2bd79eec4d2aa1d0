"""What random numbers are drawn for: one number a use, so that no two uses share a stream. Nothing else.

Plain ints, because they go into Numba kernels. A number is never given away twice, and never changed: the bits
of every run depend on it.
"""

from __future__ import annotations

from typing import Final

ORDER: Final = 1  #: order of the training samples in an epoch
SPLIT: Final = 2  #: which samples are validation
INIT: Final = 3  #: initial weights; the stream is the number of the array
CANARY: Final = 4  #: the made-up shard that a worker computes before it is admitted
SHAPES: Final = 5  #: the procedural set shapes32: what is in a picture; the stream is the picture
SHAPES_NOISE: Final = 6  #: shapes32: pixel noise
AUGMENT_FLIP: Final = 16  #: augmentations; the stream is the sample id
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
ORDER_REPLACEMENT: Final = 27  #: samples of an epoch drawn with replacement
HOLD_OUT: Final = 28  #: which samples, or groups of them, are a test set where the files bring none
DROPOUT: Final = 64  #: which values a dropout layer zeroes; the epoch is the step, the stream layer and shard
PICTURES: Final = 65  #: noise that is only looked at (saliency, fooling); trains nothing
