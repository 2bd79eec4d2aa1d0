"""Augmentations of uint8 images, driven by words of Philox."""

from dptrain.kernels.augment.jit import crop, flip

__all__ = ["crop", "flip"]
