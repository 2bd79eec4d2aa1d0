"""Weights and histories of other programs: PyTorch, and the predecessor PyFunt."""
