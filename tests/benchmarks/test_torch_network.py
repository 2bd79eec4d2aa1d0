"""benchmarks/beside.py gives PyTorch the same network as dptrain, whatever its shortcuts."""

import numpy as np
import pytest

from benchmarks.torch_step import make_network, shortcut_flags
from dptrain.nn.gradcheck import draws
from dptrain.nn.layer import Run
from dptrain.nn.network import ImageShape
from dptrain.nn.resnet import resnet
from dptrain.settings import SETTINGS, ModelConfig

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'dptrain[parity]'")


@pytest.fixture
def float64():
    """What torch makes of no dtype."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("shortcut", SETTINGS["shortcut"].rule.words)
def test_the_other_sides_network_gives_our_scores_with_our_weights(shortcut):
    shape = {"n": 2, "filters": 4, "channels": 3, "classes": 5, "inference": 0, "bf16": 0} | shortcut_flags(shortcut)
    theirs, scores = make_network(shape)
    network = resnet(ModelConfig(n=2, filters=4, shortcut=shortcut), ImageShape(8, 8, 3), 5).network
    ours = {spec.name: draws(spec.shape, stream) for stream, spec in enumerate(network.params)}
    with torch.no_grad():
        for weights, array in zip(theirs, ours.values(), strict=True):
            assert tuple(weights.shape) == array.shape
            weights.data = torch.from_numpy(array.copy())
    x = draws((4, 8, 8, 3), 99)
    expected, _ = network(Run(ours, {}, training=True), x)
    found = scores(torch.from_numpy(x.transpose(0, 3, 1, 2).copy()))
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=1e-6, atol=1e-8)
