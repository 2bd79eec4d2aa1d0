"""Gradient descent with momentum over all parameters of a network."""

from __future__ import annotations

from dptrain.kernels.descent.jit import descend

__all__ = ["descend"]
