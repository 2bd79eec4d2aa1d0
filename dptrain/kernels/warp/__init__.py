"""Rotation and elastic distortion of uint8 images, driven by words of Philox."""

from dptrain.kernels.warp.jit import elastic, rotate

__all__ = ["elastic", "rotate"]
