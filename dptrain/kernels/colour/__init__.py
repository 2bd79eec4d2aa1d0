"""Changes of contrast and colour of uint8 images, driven by words of Philox."""

from dptrain.kernels.colour.jit import contrast, shift, tint

__all__ = ["contrast", "shift", "tint"]
