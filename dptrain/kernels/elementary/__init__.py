"""exp and log whose bits do not depend on the C library."""

from __future__ import annotations

from dptrain.kernels.elementary.jit import exp, exp_scalar, log, log_scalar

__all__ = ["exp", "exp_scalar", "log", "log_scalar"]
