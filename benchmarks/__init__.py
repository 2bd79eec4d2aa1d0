"""Measurements beside other programs. Not part of the package: `benchmarks` may import dptrain, never the reverse."""
