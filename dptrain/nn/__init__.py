"""The readable network library: a layer is a function that returns (y, backward). It contains no trainer."""

from dptrain.nn.initialise import initial_buffers, initial_params
from dptrain.nn.network import ImageShape, Network, NetworkModel
from dptrain.nn.networks import build, build_network, pixel_means
from dptrain.nn.resnet import ResNet, resnet

__all__ = [
    "ImageShape",
    "Network",
    "NetworkModel",
    "ResNet",
    "build",
    "build_network",
    "initial_buffers",
    "initial_params",
    "pixel_means",
    "resnet",
]
