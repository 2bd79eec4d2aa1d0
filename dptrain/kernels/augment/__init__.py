"""Augmentations that move pixels of uint8 images as they are, driven by words of Philox."""

from dptrain.kernels.augment.jit import crop, cutout, flip, flip_vertical

__all__ = ["crop", "cutout", "flip", "flip_vertical"]
