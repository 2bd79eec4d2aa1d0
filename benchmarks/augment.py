"""Microseconds per image of every augmentation: python benchmarks/augment.py."""

from __future__ import annotations

import statistics
import time

import numpy as np

from dptrain.data.shards import Pipeline
from dptrain.kernels import philox

SPECS = (
    "flip",
    "altflip",
    "vflip",
    "crop:4",
    "reflect:4",
    "window:24:24",
    "pad:2",
    "cutout:8",
    "contrast",
    "tint",
    "pca",
    "noise:5:0:0",
    "noise:0:26:0",
    "noise:0:0:10",
    "rotate:15",
    "elastic",
)
IMAGES, ROUNDS = 128, 60


def main() -> None:
    """128 random images of 32 x 32 x 3, one thread; median and minimum of 60 rounds."""
    pixels = philox.words(1, 99, 0, 0, IMAGES * 32 * 32 * 3 // 4).astype("<u4").view(np.uint8)
    images, ids = pixels.reshape(IMAGES, 32, 32, 3).copy(), np.arange(IMAGES)
    for spec in SPECS:
        pipeline = Pipeline.parse((spec,), (32, 32, 3)).fit(images)
        out = pipeline.apply(images, ids, 0, 0)
        rounds = []
        for epoch in range(ROUNDS):
            start = time.perf_counter()
            pipeline.apply(images, ids, 0, epoch, out)
            rounds.append((time.perf_counter() - start) / IMAGES * 1e6)
        print(f"{spec:<14} {statistics.median(rounds):6.1f}  {min(rounds):6.1f}")


if __name__ == "__main__":
    main()
