"""dptrain: trains residual networks on CPUs, in one process or many, always to the same bits."""

__version__ = "0.1.0"
