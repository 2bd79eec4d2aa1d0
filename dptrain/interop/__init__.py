"""Weights and histories of other programs: PyTorch and PyFunt."""
