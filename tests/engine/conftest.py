"""What the engine's tests share."""

import hashlib

import numpy as np
import pytest

from dptrain import nn
from dptrain.kernels import normal, philox


@pytest.fixture
def bits():
    """bits(model, image, samples) -> twelve hex digits over a shard's gradient and scores, with weights a little off
    the first ones. Images and weights are the same in every process.
    """

    def of(model, image, samples):
        params = nn.initial_params(model.params, 0)
        params += np.float32(0.05) * normal.normals(1, 99, 0, params.size).astype(np.float32)
        pixels = philox.words(2, 99, 0, 0, samples * int(np.prod(image))) >> np.uint32(24)
        x, y = pixels.astype(np.uint8).reshape(samples, *image), np.arange(samples) % 10
        scores = model.logits(params, nn.initial_buffers(model.buffers), x)
        return hashlib.sha256(model.gradient(params, x, y).digest().encode() + scores.tobytes()).hexdigest()[:12]

    return of
