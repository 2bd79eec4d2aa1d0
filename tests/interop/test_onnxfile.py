"""onnxruntime computes of an exported network what we do: every layer, block, shortcut and built-in network."""

import sys
from dataclasses import dataclass
from itertools import product

import numpy as np
import pytest

from dptrain.errors import UsageError
from dptrain.interop.onnxfile import Frame, Pixels, write_onnx
from dptrain.model import ParamLayout, ParamSpec
from dptrain.nn import ImageShape, build_network, initial_params
from dptrain.nn.activations import ReLU, Reshape
from dptrain.nn.containers import Parallel, Sequential
from dptrain.nn.convolution import Convolution
from dptrain.nn.gradcheck import EXAMPLES, draws
from dptrain.nn.layer import Run
from dptrain.nn.network import Network, leaves
from dptrain.nn.pooling import GlobalAverage, Padding
from dptrain.nn.resnet import BLOCKS
from dptrain.settings import ModelConfig

onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install 'dptrain[test]'")


def arrays_of(layer):
    """Params that are not the initial ones and running statistics that are not 0 and 1, by name."""
    found = {}
    for specs, stream in ((layer.params, 11), (layer.buffers, 12)):
        layout = ParamLayout(specs)
        flat = initial_params(layout, 1) + 0.1 * draws((layout.size,), stream).astype(np.float32)
        found |= layout.views(flat)
    return {name: np.abs(a) + 0.5 if name.endswith("running_var") else a for name, a in found.items()}


def probabilities(content, images):
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return session.run(None, {"images": images})[0]


def expected(network, arrays, x):
    """In float64, from images as the network sees them."""
    wide = {name: array.astype(np.float64) for name, array in arrays.items()}
    scores = network.network(Run(wide, wide, training=False), x.astype(np.float64))[0]
    odds = np.exp(scores - scores.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)


def compare(network, x):
    """x: (n, h, w, c) normalised images."""
    arrays = arrays_of(network.network)
    content = write_onnx(network, arrays, None, {})
    got = probabilities(content, np.ascontiguousarray(x.transpose(0, 3, 1, 2)))
    np.testing.assert_allclose(got, expected(network, arrays, x), rtol=2e-4, atol=1e-6)


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_layer(name):
    layer, shape = EXAMPLES[name]
    image = ImageShape(*shape[1:]) if len(shape) == 4 else ImageShape(1, 1, int(np.prod(shape[1:])))
    whole = Sequential((*([] if len(shape) == 4 else [Reshape(shape[1:])]), layer, Reshape()))
    x = draws((shape[0], image.height, image.width, image.channels)).astype(np.float32)
    outputs = layer(Run(arrays_of(layer), arrays_of(layer), training=False), x.reshape(shape).astype(np.float64))[0]
    compare(Network(image, int(np.prod(outputs.shape[1:])), whole), x)


def test_every_layer_of_the_library_is_among_the_examples():
    from dptrain.interop.onnxfile import _LEAVES

    assert {type(leaf) for layer, _ in EXAMPLES.values() for leaf in leaves(layer)} >= set(_LEAVES)


NETWORKS = [
    *({"block": b, "shortcut": s} for b, s in product(BLOCKS, ("A", "avgpool", "A-end", "avgpool-end", "B", "C"))),
    {"residual": False},
    {"n": 2, "hidden": (6, 5), "dropout": 0.2},
    {"network": "lenet"},
    {"network": "vgg"},
    {"network": "wide"},
    {"network": "resnet9"},
]


@pytest.mark.parametrize("options", NETWORKS, ids=lambda options: ",".join(map(str, options.values())))
def test_a_network(options):
    network = build_network(ModelConfig(**{"filters": 4} | options), ImageShape(8, 12, 3), 5)
    compare(network, draws((3, 8, 12, 3)).astype(np.float32))


def test_pixels_are_cut_framed_and_normalised_inside():
    network = Network(ImageShape(6, 6, 2), 3, Sequential((Convolution("a", 2, 3), GlobalAverage())))
    arrays = arrays_of(network.network)
    mean, std = np.float32([100, 120]), np.float32([50, 60])
    frames = (Frame(cut=(1, 2, 5, 6)), Frame(pad=1, fill=7))
    images = np.random.default_rng(0).integers(0, 256, (4, 7, 8, 2), dtype=np.uint8)
    seen = np.pad(images[:, 1:5, 2:6], ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=7)
    for means in (mean, np.random.default_rng(1).uniform(90, 130, (6, 6, 2)).astype(np.float32)):
        content = write_onnx(network, arrays, Pixels((7, 8, 2), frames, means, std), {"classes": '["a"]'})
        want = expected(network, arrays, (seen - means) / std)
        np.testing.assert_allclose(probabilities(content, images), want, atol=1e-6)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    assert session.get_modelmeta().custom_metadata_map == {"classes": '["a"]'}
    assert content == write_onnx(network, arrays, Pixels((7, 8, 2), frames, means, std), {"classes": '["a"]'})


@dataclass(frozen=True)
class Own:
    """A layer of a user."""

    params: tuple[ParamSpec, ...] = ()
    buffers: tuple[ParamSpec, ...] = ()

    def __call__(self, run, x):
        return x * 2, lambda dy, gradients: dy * 2


def test_a_missing_library_is_named_with_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    network = Network(ImageShape(4, 4, 2), 2, GlobalAverage())
    with pytest.raises(UsageError, match=r"the library onnx: pip install 'dptrain\[onnx\]'"):
        write_onnx(network, {}, None, {})


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (Own(), "layer Own cannot be exported to ONNX"),
        (Padding(0, 1), "Padding of axis 0"),
        (Parallel((ReLU(),), split=0), "Parallel over the images themselves"),
    ],
)
def test_a_layer_that_has_no_form_in_onnx_is_refused_by_name(layer, words):
    network = Network(ImageShape(4, 4, 2), 2, Sequential((layer, GlobalAverage())))
    with pytest.raises(UsageError, match=words):
        write_onnx(network, {}, None, {})
