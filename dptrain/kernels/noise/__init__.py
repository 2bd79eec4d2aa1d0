"""Noise added to uint8 images, driven by words of Philox."""

from dptrain.kernels.noise.jit import noise

__all__ = ["noise"]
