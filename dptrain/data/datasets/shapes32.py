"""shapes32: coloured shapes in the format of CIFAR-10, computed from Philox numbers by integer arithmetic; no files.

Ten classes that differ in their shape only. Colours, position, size, phase, a colour gradient in the background, a spot
in a third colour, contrast and noise are drawn for each image, so the mean colour says nothing about the class.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dptrain.data.dataset import Dataset, Part, assemble
from dptrain.data.descriptor import Descriptor, Form
from dptrain.kernels import philox
from dptrain.types import I64, U8, U32

NAME = "shapes32"
CLASSES = ("disc", "ring", "square", "frame", "triangle", "cross", "bars", "slats", "checks", "dots")
SIDE = 32
TRAIN, TEST = 5000, 1000

_SEED = 0  # part of the data set's definition: another seed makes another data set
_Ints = NDArray[np.int32]
_Mask = NDArray[np.bool_]


class _Place(NamedTuple):
    """Pixel positions relative to the shape's center, and its sizes; arrays of (n, 32, 32) or (n, 1, 1)."""

    x: _Ints
    y: _Ints
    radius: _Ints  #: 7 ... 12
    thick: _Ints  #: of rings, frames and crosses: 2 ... 4
    half: _Ints  #: half a period of the textures: 2 ... 4
    phase: _Ints  #: 0 ... 7


@lru_cache(maxsize=1)  # coordinator and workers in one process open it one after the other
def load(train: int = TRAIN, test: int = TEST) -> Dataset:
    """Makes `train` + `test` images; the same counts give the same bits. 6,000 take about 0.5 s (measured)."""
    images, labels = generate(np.arange(train + test))
    parts = Part(images[:train], labels[:train]), Part(images[train:], labels[train:])
    return assemble(NAME, CLASSES, *parts)


def generate(numbers: I64) -> tuple[U8, I64]:
    """The images with these numbers: (n, 32, 32, 3), and their classes: number mod 10."""
    labels = numbers % len(CLASSES)
    images = np.empty((numbers.size, SIDE, SIDE, 3), np.uint8)
    for label, shape in enumerate(_SHAPES):
        chosen = np.flatnonzero(labels == label)
        images[chosen] = _paint(shape, numbers[chosen])
    return images, labels


def _paint(shape: Callable[[_Place], _Mask], numbers: I64) -> U8:
    draws = _Draws(numbers)
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.int32)
    radius = draws.between(7, 12)
    place = _Place(
        x=x - draws.between(11, 20),
        y=y - draws.between(11, 20),
        radius=radius,
        thick=draws.between(2, 4),
        half=draws.between(2, 4),
        phase=draws.between(0, 7),
    )
    spot = (x - draws.between(0, SIDE - 1)) ** 2 + (y - draws.between(0, SIDE - 1)) ** 2 <= draws.between(1, 9)
    background, foreground, third = _colours(draws)
    slope_x, slope_y = draws.between(-2, 2), draws.between(-2, 2)
    base = background + ((x - 16) * slope_x + (y - 16) * slope_y)[..., np.newaxis]
    painted = np.where(shape(place)[..., np.newaxis], foreground, base)
    painted = np.where(spot[..., np.newaxis], third, painted)
    strength = draws.between(4, 40)[..., np.newaxis]
    out: U8 = np.clip(painted + ((_noise(numbers) * strength) >> 7), 0, 255).astype(np.uint8)
    return out


class _Draws:
    """Gives the words of each image's stream one after another, as bounded integers (n, 1, 1)."""

    _WORDS = 32

    def __init__(self, numbers: I64) -> None:
        rows = [philox.words(_SEED, philox.Domain.SHAPES, 0, int(n), self._WORDS) for n in numbers]
        self._words: U32 = np.array(rows, np.uint32).reshape(-1, self._WORDS)
        self._next = 0

    def between(self, low: int, high: int) -> _Ints:
        """Both ends included; multiply-shift as in philox.bounded."""
        word = self._words[:, self._next].astype(np.uint64)
        self._next += 1
        value = (word * np.uint64(high - low + 1)) >> np.uint64(32)
        return (value.astype(np.int32) + np.int32(low))[:, np.newaxis, np.newaxis]


def _colours(draws: _Draws) -> tuple[_Ints, _Ints, _Ints]:
    """Three colours (n, 1, 1, 3). Foreground and background differ by 48 ... 127 per channel, up or down, mod 256."""
    first, third, step = (
        np.stack([draws.between(low, high) for _ in range(3)], axis=-1) for low, high in ((0, 255), (0, 255), (48, 127))
    )
    up = np.stack([draws.between(0, 1) for _ in range(3)], axis=-1)
    return first, (first + np.where(up == 1, step, -step)) & 255, third


def _noise(numbers: I64) -> _Ints:
    """(n, 32, 32, 3) in -128 ... 127, equally likely: the bytes of a second stream."""
    size = SIDE * SIDE * 3
    rows = [philox.words(_SEED, philox.Domain.SHAPES_NOISE, 0, int(n), size // 4) for n in numbers]
    content = np.array(rows, "<u4").view(np.uint8).reshape(-1, SIDE, SIDE, 3)
    return content.astype(np.int32) - 128


def _disc(p: _Place) -> _Mask:
    return p.x**2 + p.y**2 <= p.radius**2


def _ring(p: _Place) -> _Mask:
    distance = p.x**2 + p.y**2
    return (distance <= p.radius**2) & (distance > (p.radius - p.thick) ** 2)


def _box(p: _Place) -> _Mask:
    return np.maximum(np.abs(p.x), np.abs(p.y)) <= p.radius


def _frame(p: _Place) -> _Mask:
    distance = np.maximum(np.abs(p.x), np.abs(p.y))
    return (distance <= p.radius) & (distance > p.radius - p.thick)


def _triangle(p: _Place) -> _Mask:
    return (2 * np.abs(p.x) <= p.y + p.radius) & (p.y <= p.radius)


def _cross(p: _Place) -> _Mask:
    return _box(p) & (np.minimum(np.abs(p.x), np.abs(p.y)) < p.thick)


def _odd(p: _Place, along: _Ints) -> _Mask:
    odd: _Mask = ((along + p.phase + 64) // p.half) % 2 == 1
    return odd


def _bars(p: _Place) -> _Mask:
    return _box(p) & _odd(p, p.x)


def _slats(p: _Place) -> _Mask:
    return _box(p) & _odd(p, p.y)


def _checks(p: _Place) -> _Mask:
    return _box(p) & (_odd(p, p.x) ^ _odd(p, p.y))


def _dots(p: _Place) -> _Mask:
    return _box(p) & _odd(p, p.x) & _odd(p, p.y)


_SHAPES = (_disc, _ring, _box, _frame, _triangle, _cross, _bars, _slats, _checks, _dots)

DATASET = Descriptor(
    name=NAME,
    about="coloured shapes",
    form=Form(SIDE, SIDE, 3, len(CLASSES)),
    train=TRAIN,
    test=TEST,
    terms="computed, no files",
    load=load,
)
