"""From uint8 pixels to network input."""

from __future__ import annotations

from dptrain.kernels.pixels.jit import standardise

__all__ = ["standardise"]
