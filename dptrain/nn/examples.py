"""One example or more of every layer, with the shape of an input: what `dptrain gradcheck` and the tests go through."""

from __future__ import annotations

from dptrain.nn.batchnorm import BatchNorm
from dptrain.nn.containers import Residual, Sequential
from dptrain.nn.convolution import Convolution, FullConvolution
from dptrain.nn.dropout import Dropout
from dptrain.nn.layer import Layer
from dptrain.nn.linear import Linear
from dptrain.nn.padding import Padding, ReflectionPadding, ReplicationPadding
from dptrain.nn.pooling import AveragePooling, GlobalAverage, MaxPooling
from dptrain.nn.relu import ReLU
from dptrain.nn.reshape import Reshape
from dptrain.nn.scale import MulConstant
from dptrain.nn.shortcut import AveragePool, Identity, Subsample
from dptrain.nn.squash import LogSoftMax, Sigmoid, SoftMax, Tanh
from dptrain.nn.table import CAddTable, ConcatTable, Parallel
from dptrain.nn.threshold import Threshold
from dptrain.nn.upsampling import UpSampling

_IMAGE = (3, 6, 5, 4)
_ODD = (2, 7, 9, 3)
_FLAT = (5, 7)

EXAMPLES: dict[str, tuple[Layer, tuple[int, ...]]] = {
    "Convolution": (Convolution("a", 4, 3), _IMAGE),
    "Convolution, stride 2 that does not tile": (Convolution("a", 4, 3, stride=2), _IMAGE),
    "Convolution, 1x1, stride 2, shift": (Convolution("a", 4, 3, taps=1, stride=2, pad=0, bias=True), _IMAGE),
    "Convolution, 5x3, stride 2x3, pad 2x0": (Convolution("a", 3, 2, (5, 3), (2, 3), (2, 0), bias=True), _ODD),
    "Convolution, first": (Convolution("a", 4, 3, first=True), _IMAGE),
    "FullConvolution": (FullConvolution("a", 4, 3), _IMAGE),
    "FullConvolution, stride 2, pad 1, extra 1": (FullConvolution("a", 4, 3, stride=2, pad=1, extra=1), _IMAGE),
    "FullConvolution, 3x2, stride 3, extra 2x0": (FullConvolution("a", 3, 2, (3, 2), 3, extra=(2, 0)), _ODD),
    "Linear": (Linear("a", 7, 4), _FLAT),
    "BatchNorm, images": (BatchNorm("a", 4), _IMAGE),
    "BatchNorm, flat": (BatchNorm("a", 7), _FLAT),
    "BatchNorm, not affine": (BatchNorm("a", 4, affine=False), _IMAGE),
    "ReLU": (ReLU(), _IMAGE),
    "Threshold": (Threshold(0.3, -1.5), _IMAGE),
    "Sigmoid": (Sigmoid(), _FLAT),
    "Tanh": (Tanh(), _FLAT),
    "SoftMax": (SoftMax(), _FLAT),
    "SoftMax, channels": (SoftMax(), _IMAGE),
    "LogSoftMax": (LogSoftMax(), _FLAT),
    "Dropout": (Dropout("a", 0.3), _IMAGE),
    "MaxPooling": (MaxPooling(), (3, 6, 8, 4)),
    "MaxPooling, 3, stride 2, pad 1, ceil": (MaxPooling(3, 2, 1, ceil=True), _ODD),
    "MaxPooling, 2x3, stride 1x2": (MaxPooling((2, 3), (1, 2)), _ODD),
    "AveragePooling": (AveragePooling(), (3, 6, 8, 4)),
    "AveragePooling, 3, stride 2, pad 1, ceil": (AveragePooling(3, 2, 1, ceil=True), _ODD),
    "AveragePooling, 3x2, pad 1, without the frame": (AveragePooling((3, 2), 1, 1, count_pad=False), _ODD),
    "GlobalAverage": (GlobalAverage(), _IMAGE),
    "Reshape": (Sequential((Reshape((10, 12)), Reshape())), _IMAGE),
    "Identity": (Identity(), _IMAGE),
    "MulConstant": (MulConstant(-2.5), _IMAGE),
    "Padding": (Padding(1, 2, 1, 0.5), _IMAGE),
    "Padding, channels": (Padding(-1, after=3), _IMAGE),
    "ReflectionPadding": (ReflectionPadding(2, 1, 3, 0), _IMAGE),
    "ReplicationPadding": (ReplicationPadding(2, 1, 3, 0), _IMAGE),
    "UpSampling": (UpSampling(3), _IMAGE),
    "Subsample": (Subsample(), (*_ODD[:3], 4)),
    "Subsample, zeros at the end": (Subsample(at_end=True), (*_ODD[:3], 3)),
    "AveragePool, zeros at the end": (AveragePool(at_end=True), (2, 4, 6, 3)),
    "AveragePool": (AveragePool(), (2, 4, 6, 4)),
    "ConcatTable and CAddTable": (
        Sequential((ConcatTable((Tanh(), Convolution("a", 4, 4), MulConstant(2.0))), CAddTable())),
        _IMAGE,
    ),
    "Parallel": (Parallel((Linear("a", 5, 3), Linear("b", 5, 4)), split=1), (3, 2, 5)),
    "Residual": (Residual(Sequential((Convolution("a", 4, 4), Tanh())), Identity()), _IMAGE),
}
