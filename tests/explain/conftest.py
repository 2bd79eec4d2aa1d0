"""A small network whose weights and running statistics are not the initial ones."""

import numpy as np
import pytest

from dptrain.explain.frozen import Frozen
from dptrain.model import ParamLayout
from dptrain.nn import build, initial_params
from dptrain.nn.resnet import ImageShape, resnet
from dptrain.settings import ModelConfig

CONFIG = ModelConfig(n=1, filters=4)
MEAN, STD = np.array([120.0, 130.0, 110.0]), np.array([60.0, 50.0, 70.0])


@pytest.fixture(scope="session")
def weights():
    """(network, params, buffers): ResNet-8 with 4 filters for 8x8 colour images and 5 classes."""
    net = resnet(CONFIG, ImageShape(8, 8, 3), 5)
    params = initial_params(ParamLayout(net.network.params), 3)
    rng = np.random.default_rng(0)
    layout = ParamLayout(net.network.buffers)
    buffers = np.zeros(layout.size, np.float32)
    for name, view in layout.views(buffers).items():
        view[...] = rng.uniform(0.5, 2, view.shape) if name.endswith("running_var") else rng.normal(0, 0.3, view.shape)
    return net, params, buffers


@pytest.fixture(scope="session")
def network(weights):
    net, params, buffers = weights
    return Frozen(net.network, params, buffers, MEAN, STD)


@pytest.fixture(scope="session")
def trained_logits(weights):
    """uint8 images -> logits, by the network as training and evaluation know it."""
    _, params, buffers = weights
    model = build(CONFIG, (8, 8, 3), 5, MEAN.tolist(), STD.tolist())
    return lambda x: model.logits(params, buffers, x)


@pytest.fixture(scope="session")
def pictures():
    """(12, 8, 8, 3) uint8."""
    return np.random.default_rng(1).integers(0, 256, (12, 8, 8, 3), np.uint8)
