"""A trained network as an ONNX graph, made with the library `onnx` (extra `onnx`), without PyTorch.

Inside the graph, images are (n, c, h, w), as ONNX wants them; ours are (n, h, w, c). `_Value.first` says which of the
two a value is, and a Transpose stands only where a layer needs the other one. Shapes are found by running the layers on
one blank image in float64, which compiles nothing.

Operator set 17 (2022) and file format 8: older runtimes read them, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dptrain.errors import UsageError
from dptrain.kernels.reference import pool
from dptrain.nn.activations import (
    LogSoftMax,
    MulConstant,
    ReLU,
    Reshape,
    Sigmoid,
    SoftMax,
    Tanh,
    Threshold,
)
from dptrain.nn.containers import CAddTable, ConcatTable, Parallel, Residual, Sequential
from dptrain.nn.convolution import Convolution, FullConvolution, Linear
from dptrain.nn.layer import Layer, Run, pair
from dptrain.nn.network import Network
from dptrain.nn.norm import EPSILON, BatchNorm, Dropout
from dptrain.nn.pooling import (
    AveragePooling,
    GlobalAverage,
    MaxPooling,
    Padding,
    ReflectionPadding,
    ReplicationPadding,
    UpSampling,
)
from dptrain.nn.resnet import AveragePool, Identity, Subsample
from dptrain.types import F32, Floats

OPERATORS, FORMAT = 17, 8
INPUT, OUTPUT = "images", "probabilities"
_END = 2**31 - 1  #: of an axis: Slice stops at its last entry


class Frame(NamedTuple):
    """What evaluation does to the pixels of an image before the network: a cut, then a frame of one value, or neither.

    One of the operations `window` and `pad` of an augmentation.
    """

    cut: tuple[int, int, int, int] | None = None  #: top, left, bottom, right of what is kept
    pad: int = 0
    fill: int = 0


class Pixels(NamedTuple):
    """How uint8 images (n, h, w, c) become the input of the network."""

    image: tuple[int, int, int]  #: height, width, channels of the images that the graph takes
    frames: tuple[Frame, ...]
    mean: F32  #: (c,) or (h, w, c), in units of 0..255
    std: F32  #: (c,)


@dataclass(frozen=True, slots=True)
class _Value:
    """An array in the graph."""

    name: str
    blank: Floats  #: zeros of its shape for one image, in our layout
    first: bool = False  #: its channels are the second axis in the graph; else it has our layout

    @property
    def rank(self) -> int:
        return self.blank.ndim


_Signal: TypeAlias = Any  #: a _Value; between ConcatTable and CAddTable a tuple of them


@dataclass(slots=True)
class _Graph:
    """The nodes and arrays so far."""

    onnx: Any
    run: Run  #: with which the blank image is computed
    arrays: Mapping[str, F32]  #: params and running statistics by name
    nodes: list[Any] = field(default_factory=list)
    constants: dict[str, NDArray[Any]] = field(default_factory=dict)

    def node(self, operator: str, *inputs: str, **attributes: object) -> str:
        """Adds a node; returns the name of its output."""
        name = f"{operator}_{len(self.nodes)}"
        self.nodes.append(self.onnx.helper.make_node(operator, list(inputs), [name], name, **attributes))
        return name

    def constant(self, array: NDArray[Any]) -> str:
        """Adds an array without a name of its own."""
        return self.stored(f"constant_{len(self.constants)}", array)

    def stored(self, name: str, array: NDArray[Any]) -> str:
        """Adds an array under this name, which may be there already."""
        self.constants[name] = np.asarray(array, order="C")  # np.ascontiguousarray makes a vector of a scalar
        return name

    def weight(self, name: str) -> str:
        """The array of the network that has this name."""
        return self.stored(name, self.arrays[name])

    def integers(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64))

    def number(self, value: float) -> str:
        return self.constant(np.array(value, np.float32))

    def channels_first(self, x: _Value) -> str:
        """The value as ONNX's operators on images want it."""
        if x.first or x.rank <= 2:
            return x.name
        return self.node("Transpose", x.name, perm=[0, x.rank - 1, *range(1, x.rank - 1)])

    def channels_last(self, x: _Value) -> str:
        """The value in our layout."""
        if not x.first or x.rank <= 2:
            return x.name
        return self.node("Transpose", x.name, perm=[0, *range(2, x.rank), 1])

    def add(self, a: _Value, b: _Value) -> _Value:
        other = self.channels_first(b) if a.first else self.channels_last(b)
        return _Value(self.node("Add", a.name, other), a.blank, a.first)

    def emit(self, layer: Layer, x: _Signal) -> _Signal:
        """Adds the nodes of a layer. Raises UsageError for a layer that has no form in ONNX."""
        kind = type(layer)
        if kind in _CONTAINERS:
            return _CONTAINERS[kind](self, layer, x)
        if kind not in _LEAVES:
            raise UsageError(
                f"layer {kind.__name__} cannot be exported to ONNX: dptrain knows its name, not its formula. "
                "Export .pt or .safetensors, which hold the weights only"
            )
        name, first = _LEAVES[kind](self, layer, x)
        return _Value(name, layer(self.run, x.blank)[0], first)


# --- layers made of layers


def _sequential(graph: _Graph, layer: Any, x: _Signal) -> _Signal:  # noqa: ANN401  # one class per function
    for inner in layer.layers:
        x = graph.emit(inner, x)
    return x


def _residual(graph: _Graph, layer: Any, x: _Signal) -> _Signal:  # noqa: ANN401
    return graph.add(graph.emit(layer.branch, x), graph.emit(layer.shortcut, x))


def _concat_table(graph: _Graph, layer: Any, x: _Signal) -> _Signal:  # noqa: ANN401
    return tuple(graph.emit(inner, x) for inner in layer.layers)


def _add_table(graph: _Graph, _layer: object, x: _Signal) -> _Signal:
    total, *others = x
    for other in others:
        total = graph.add(total, other)
    return total


def _parallel(graph: _Graph, layer: Any, x: _Signal) -> _Signal:  # noqa: ANN401
    axis, whole = layer.split % x.rank, graph.channels_last(x)
    parts = []
    for at, inner in enumerate(layer.layers):
        taken = graph.node("Gather", whole, graph.constant(np.array(at, np.int64)), axis=axis)
        parts.append(graph.emit(inner, _Value(taken, np.ascontiguousarray(x.blank.take(at, axis)))))
    join = layer.join % parts[0].rank
    if 0 in (axis, join):
        raise UsageError("Parallel over the images themselves (axis 0) cannot be exported to ONNX")
    joined = graph.node("Concat", *map(graph.channels_last, parts), axis=join)
    return _Value(joined, np.concatenate([part.blank for part in parts], join))


# --- layers: (graph, layer, input) -> name of the output, and whether its channels come first


def _convolution(graph: _Graph, layer: Any, x: _Value) -> tuple[str, bool]:  # noqa: ANN401
    pad = pair(layer.pad)
    inputs = [graph.channels_first(x), graph.weight(f"{layer.name}.weight")]
    inputs += [graph.weight(f"{layer.name}.bias")] if layer.bias else []
    sizes = {"kernel_shape": pair(layer.taps), "strides": pair(layer.stride), "pads": [*pad, *pad]}
    return graph.node("Conv", *inputs, **sizes), True


def _full_convolution(graph: _Graph, layer: Any, x: _Value) -> tuple[str, bool]:  # noqa: ANN401
    inputs = [graph.channels_first(x), graph.weight(f"{layer.name}.weight")]
    inputs += [graph.weight(f"{layer.name}.bias")] if layer.bias else []
    sizes = {"kernel_shape": pair(layer.taps), "strides": pair(layer.stride), "pads": [layer.pad] * 4}
    return graph.node("ConvTranspose", *inputs, output_padding=pair(layer.extra), **sizes), True


def _linear(graph: _Graph, layer: Any, x: _Value) -> tuple[str, bool]:  # noqa: ANN401
    weights, bias = graph.weight(f"{layer.name}.weight"), graph.weight(f"{layer.name}.bias")
    return graph.node("Gemm", x.name, weights, bias, transB=1), False


def _batch_norm(graph: _Graph, layer: Any, x: _Value) -> tuple[str, bool]:  # noqa: ANN401
    name, neutral = layer.name, (np.ones, np.zeros)
    inputs = [graph.channels_first(x)]
    for part, made in zip(("weight", "bias"), neutral, strict=True):
        array = f"{name}.{part}"
        inputs.append(graph.weight(array) if layer.affine else graph.stored(array, made(layer.channels, np.float32)))
    inputs += [graph.weight(f"{name}.running_mean"), graph.weight(f"{name}.running_var")]
    return graph.node("BatchNormalization", *inputs, epsilon=EPSILON), True


def _unchanged(_graph: _Graph, _layer: object, x: _Value) -> tuple[str, bool]:
    return x.name, x.first


def _elementwise(operator: str) -> Callable[[_Graph, Any, _Value], tuple[str, bool]]:
    return lambda graph, _, x: (graph.node(operator, x.name), x.first)


def _over_channels(operator: str) -> Callable[[_Graph, Any, _Value], tuple[str, bool]]:
    return lambda graph, _, x: (graph.node(operator, x.name, axis=1 if x.first else -1), x.first)


def _threshold(graph: _Graph, layer: Any, x: _Value) -> tuple[str, bool]:  # noqa: ANN401
    below = graph.node("LessOrEqual", x.name, graph.number(layer.threshold))
    return graph.node("Where", below, graph.number(layer.value), x.name), x.first


def _times(graph: _Graph, layer: Any, x: _Value) -> tuple[str, bool]:  # noqa: ANN401
    return graph.node("Mul", x.name, graph.number(layer.factor)), x.first


def _reshape(graph: _Graph, layer: Any, x: _Value) -> tuple[str, bool]:  # noqa: ANN401
    shape = graph.integers(0, *layer(graph.run, x.blank)[0].shape[1:])  # 0: as many images as came in
    return graph.node("Reshape", graph.channels_last(x), shape), False


def _global_average(graph: _Graph, _layer: object, x: _Value) -> tuple[str, bool]:
    return graph.node("Flatten", graph.node("GlobalAveragePool", graph.channels_first(x)), axis=1), False


def _beyond(layer: Any, x: _Value) -> tuple[pool.Window, list[int]]:  # noqa: ANN401
    """The windows of a pooling layer; top, left, bottom and right: how far they reach beyond the image."""
    window = pool.Window(pair(layer.size), pair(layer.stride or layer.size), pair(layer.pad), layer.ceil)
    size = x.blank.shape[1:3]
    last = [(count - 1) * step for count, step in zip(window.outputs(*size), window.stride, strict=True)]
    ends = [max(0, last[i] + window.size[i] - size[i] - window.pad[i]) for i in (0, 1)]
    return window, [*window.pad, *ends]


def _max_pooling(graph: _Graph, layer: Any, x: _Value) -> tuple[str, bool]:  # noqa: ANN401
    window, pads = _beyond(layer, x)
    sizes = {"kernel_shape": window.size, "strides": window.stride, "pads": pads}
    return graph.node("MaxPool", graph.channels_first(x), **sizes), True


def _average_pooling(graph: _Graph, layer: Any, x: _Value) -> tuple[str, bool]:  # noqa: ANN401
    """The mean of each window in a frame of zeros, times (size of the window) / (pixels that count in it)."""
    window, (top, left, bottom, right) = _beyond(layer, x)
    source = graph.channels_first(x)
    if top or left or bottom or right:
        source = _padded(graph, source, [0, 0, top, left, 0, 0, bottom, right])
    y = graph.node("AveragePool", source, kernel_shape=window.size, strides=window.stride)
    ones = np.ones((1, *x.blank.shape[1:3], 1))
    whole = np.pad(ones, ((0, 0), (top, bottom), (left, right), (0, 0)))
    factor = layer(graph.run, ones)[0] / pool.average(whole, pool.Window(window.size, window.stride))
    if (factor != 1.0).any():
        y = graph.node("Mul", y, graph.constant(factor.transpose(0, 3, 1, 2).astype(np.float32)))
    return y, True


def _padded(graph: _Graph, source: str, pads: list[int], value: float = 0.0, mode: str = "constant") -> str:
    """pads: at the begin of every axis, then at the end of every axis, as Pad wants them."""
    inputs = [source, graph.integers(*pads), *([graph.number(value)] if mode == "constant" else [])]
    return graph.node("Pad", *inputs, mode=mode)


def _padding(graph: _Graph, layer: Any, x: _Value) -> tuple[str, bool]:  # noqa: ANN401
    axis = layer.axis % x.rank
    if axis == 0:
        raise UsageError("Padding of axis 0 adds images: it cannot be exported to ONNX")
    if x.first:
        axis = 1 if axis == x.rank - 1 else axis + 1
    pads = [0] * (2 * x.rank)
    pads[axis], pads[x.rank + axis] = layer.before, layer.after
    return _padded(graph, x.name, pads, layer.value), x.first


def _sides(mode: str) -> Callable[[_Graph, Any, _Value], tuple[str, bool]]:
    def emit(graph: _Graph, layer: Any, x: _Value) -> tuple[str, bool]:  # noqa: ANN401
        pads = [0, 0, layer.top, layer.left, 0, 0, layer.bottom, layer.right]
        return _padded(graph, graph.channels_first(x), pads, mode=mode), True

    return emit


def _up_sampling(graph: _Graph, layer: Any, x: _Value) -> tuple[str, bool]:  # noqa: ANN401
    scales = graph.constant(np.array([1, 1, layer.scale, layer.scale], np.float32))
    how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    return graph.node("Resize", graph.channels_first(x), "", scales, **how), True


def _widened(graph: _Graph, layer: Any, x: _Value, halved: str) -> tuple[str, bool]:  # noqa: ANN401
    """Twice the channels: zeros on both sides, or at the end."""
    channels = x.blank.shape[3]
    before = 0 if layer.at_end else channels // 2
    return _padded(graph, halved, [0, before, 0, 0, 0, channels - before, 0, 0]), True


def _subsample(graph: _Graph, layer: Any, x: _Value) -> tuple[str, bool]:  # noqa: ANN401
    bounds = graph.integers(0, 0), graph.integers(_END, _END), graph.integers(2, 3), graph.integers(2, 2)
    return _widened(graph, layer, x, graph.node("Slice", graph.channels_first(x), *bounds))


def _average_pool(graph: _Graph, layer: Any, x: _Value) -> tuple[str, bool]:  # noqa: ANN401
    means = graph.node("AveragePool", graph.channels_first(x), kernel_shape=[2, 2], strides=[2, 2])
    return _widened(graph, layer, x, means)


_CONTAINERS: dict[type, Callable[[_Graph, Any, _Signal], _Signal]] = {
    Sequential: _sequential,
    Residual: _residual,
    ConcatTable: _concat_table,
    CAddTable: _add_table,
    Parallel: _parallel,
}
_LEAVES: dict[type, Callable[[_Graph, Any, _Value], tuple[str, bool]]] = {
    Convolution: _convolution,
    FullConvolution: _full_convolution,
    Linear: _linear,
    BatchNorm: _batch_norm,
    Dropout: _unchanged,
    Identity: _unchanged,
    ReLU: _elementwise("Relu"),
    Sigmoid: _elementwise("Sigmoid"),
    Tanh: _elementwise("Tanh"),
    SoftMax: _over_channels("Softmax"),
    LogSoftMax: _over_channels("LogSoftmax"),
    Threshold: _threshold,
    MulConstant: _times,
    Reshape: _reshape,
    GlobalAverage: _global_average,
    MaxPooling: _max_pooling,
    AveragePooling: _average_pooling,
    Padding: _padding,
    ReflectionPadding: _sides("reflect"),
    ReplicationPadding: _sides("edge"),
    UpSampling: _up_sampling,
    Subsample: _subsample,
    AveragePool: _average_pool,
}


# --- the whole graph


def write_onnx(network: Network, arrays: Mapping[str, F32], pixels: Pixels | None, about: Mapping[str, str]) -> bytes:
    """The bytes of an ONNX file that computes the probability of each class.

    arrays: params and running statistics by name. pixels: None for a graph that takes normalised float32 images
    (n, c, h, w); else it takes uint8 images (n, h, w, c). about: the file's metadata. Raises UsageError if a layer
    cannot be exported, or if the library is missing.
    """
    onnx = _library()
    wide = {name: array.astype(np.float64) for name, array in arrays.items()}
    graph = _Graph(onnx, Run(wide, wide, training=False), arrays)
    image = network.image
    blank = np.zeros((1, image.height, image.width, image.channels))
    if pixels is None:
        kind, shape = onnx.TensorProto.FLOAT, ("n", image.channels, image.height, image.width)
        x = _Value(INPUT, blank, first=True)
    else:
        kind, shape = onnx.TensorProto.UINT8, ("n", *pixels.image)
        x = _Value(_normalised(graph, pixels), blank)
    graph.node("Softmax", graph.emit(network.network, x).name, axis=-1)
    graph.nodes[-1].output[0] = OUTPUT
    helper = onnx.helper
    made = helper.make_graph(
        graph.nodes,
        "dptrain",
        [helper.make_tensor_value_info(INPUT, kind, shape)],
        [helper.make_tensor_value_info(OUTPUT, onnx.TensorProto.FLOAT, ("n", network.classes))],
        [onnx.numpy_helper.from_array(array, name) for name, array in graph.constants.items()],
    )
    operators = [helper.make_opsetid("", OPERATORS)]
    model = helper.make_model(made, opset_imports=operators, ir_version=FORMAT, producer_name="dptrain")
    helper.set_model_props(model, dict(about))
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def _normalised(graph: _Graph, pixels: Pixels) -> str:
    """(pixels - mean) / std, as dptrain.kernels.pixels computes it, of the part that evaluation sees."""
    x = graph.node("Cast", INPUT, to=graph.onnx.TensorProto.FLOAT)
    for frame in pixels.frames:
        if frame.cut is not None:
            top, left, bottom, right = frame.cut
            x = graph.node("Slice", x, graph.integers(top, left), graph.integers(bottom, right), graph.integers(1, 2))
        if frame.pad:
            sides = [0, frame.pad, frame.pad, 0]
            x = _padded(graph, x, [*sides, *sides], frame.fill)
    less = graph.node("Sub", x, graph.stored("mean", pixels.mean))
    return graph.node("Div", less, graph.stored("std", pixels.std))


def _library() -> Any:  # noqa: ANN401  # a module
    try:
        import onnx
        import onnx.checker
        import onnx.helper
        import onnx.numpy_helper
    except ImportError as error:
        raise UsageError(
            f"ONNX files are written with the library onnx: pip install 'dptrain[onnx]' ({error})"
        ) from error
    return onnx
