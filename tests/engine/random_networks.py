"""Random networks, as a user's file has them: the setting `n` is the seed."""

import numpy as np

from dptrain.nn.activations import ReLU, Reshape, Tanh
from dptrain.nn.containers import Residual, Sequential
from dptrain.nn.convolution import Convolution, Linear
from dptrain.nn.norm import BatchNorm, Dropout
from dptrain.nn.pooling import AveragePooling, GlobalAverage, MaxPooling
from dptrain.nn.resnet import Identity, Subsample


class _Draft:
    """The layers so far, and the shape of their outputs."""

    def __init__(self, rng, image):
        self.rng, self.layers, self.number = rng, [], 0
        self.shape = (image.height, image.width, image.channels)

    def name(self, kind):
        self.number += 1
        return f"{kind}{self.number}"

    def conv(self, inputs, outputs, taps=3, stride=1, pad=None, **more):
        pad = taps // 2 if pad is None else pad
        return Convolution(self.name("conv"), inputs, outputs, taps, stride, pad, first=self.number == 1, **more)

    def norm(self, channels):
        return BatchNorm(self.name("norm"), channels, affine=bool(self.rng.integers(4)))

    def width(self):
        return int(self.rng.choice([6, 8, 8, 12, 16, 24]))

    def plain(self):
        """Convolution, perhaps BatchNorm, ReLU or tanh."""
        h, w, c = self.shape
        taps, stride = int(self.rng.choice([1, 2, 3, 3, 5])), int(self.rng.choice([1, 1, 2]))
        bias, k = bool(self.rng.integers(2)), self.width()
        self.layers.append(self.conv(c, k, taps, stride, bias=bias))
        pad = taps // 2
        self.shape = (h + 2 * pad - taps) // stride + 1, (w + 2 * pad - taps) // stride + 1, k
        if not bias or self.rng.integers(2):
            self.layers.append(self.norm(k))
        self.layers.append(Tanh() if self.rng.integers(5) == 0 else ReLU())

    def residual(self):
        """A block of the paper or a pre-activated one, perhaps of blocks, with one of the shortcuts."""
        h, w, c = self.shape
        kind, before = int(self.rng.integers(4)), bool(self.rng.integers(2))
        k, stride = ((c, 1), (self.width(), 2), (2 * c, 2), (self.width(), 1))[kind]
        shortcut = Sequential((self.conv(c, k, 1, stride), self.norm(k))) if kind in (1, 3) else Identity()
        shortcut = Subsample(at_end=True) if kind == 2 else shortcut
        middle = (self.norm(k), ReLU(), self.conv(k, k))
        branch = (self.norm(c), ReLU(), self.conv(c, k, 3, stride), *middle)
        if not before:
            branch = (self.conv(c, k, 3, stride), *middle, self.norm(k))
        if self.rng.integers(3) == 0:
            branch = (*branch, Residual(Sequential((self.norm(k), ReLU())), Identity()))
        self.layers.append(Residual(Sequential(branch), shortcut))
        self.layers += [] if before else [ReLU()]
        self.shape = -(-h // stride), -(-w // stride), k

    def pool(self):
        """Windows of 2 or 3."""
        h, w, c = self.shape
        size, stride = int(self.rng.choice([2, 3])), int(self.rng.choice([1, 2]))
        self.layers.append((MaxPooling, AveragePooling)[self.rng.integers(2)](size, stride, pad=size // 2))
        self.shape = (h + 2 * (size // 2) - size) // stride + 1, (w + 2 * (size // 2) - size) // stride + 1, c


def net(config, image, classes):
    rng = np.random.default_rng(config.n)
    draft = _Draft(rng, image)
    draft.plain()
    for _ in range(int(rng.integers(2, 5))):
        part = (draft.residual, draft.residual, draft.plain, draft.pool)[rng.integers(4)]
        if min(draft.shape[:2]) > 5:
            part()
    if rng.integers(2):
        draft.layers.append(Dropout("drop", 0.3))
    h, w, c = draft.shape
    draft.layers += [GlobalAverage()] if rng.integers(2) or h * w > 200 else [Reshape()]
    inputs = c if isinstance(draft.layers[-1], GlobalAverage) else h * w * c
    return Sequential((*draft.layers, Linear("linear", inputs, classes)))
