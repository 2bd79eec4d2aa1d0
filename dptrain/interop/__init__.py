"""Weights and histories of other programs, PyTorch and the predecessor PyFunt, and ONNX files of trained networks."""
