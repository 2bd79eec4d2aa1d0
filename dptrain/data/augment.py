"""The operations of augmentation: their parameters, and what each does in training and evaluation. The chain of them:
`Pipeline` in `shards.py`.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields, replace
from typing import ClassVar, Self

import numpy as np

from dptrain.errors import UsageError
from dptrain.kernels import augment, philox, warp
from dptrain.types import I64, U8, U32

Shape = tuple[int, int, int]
BYTE = (0, 255)
#: What evaluation can look at: the center of an image, or one of its four corners.
VIEWS = ("centre", "upper left", "upper right", "lower left", "lower right")


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation. The random words of an image depend on (seed, epoch, image number, domain) and on nothing else."""

    name: ClassVar[str]
    domain: ClassVar[int]  #: Philox domain of its random words; 0: it draws none
    #: Numbers after the name, in order: field -> least and greatest (None: no limit). Optional ones come last.
    numbers: ClassVar[dict[str, tuple[int, int | None]]] = {}

    @classmethod
    def usage(cls) -> str:
        """How it is written, such as "crop:PAD[:FILL]"."""
        needed, all_names = cls._needed(), [name.upper() for name in cls.numbers]
        optional = "".join(f"[:{name}" for name in all_names[needed:]) + "]" * (len(all_names) - needed)
        return ":".join([cls.name, *all_names[:needed]]) + optional

    @classmethod
    def parse(cls, arguments: list[int]) -> Self:
        """The operation with these numbers. Raises ValueError."""
        least, most = cls._needed(), len(cls.numbers)
        if not least <= len(arguments) <= most:
            words = ("no", "one", "two", "three", "four")
            count = (
                words[least] if least == most else f"{words[least]} {'or' if most == least + 1 else 'to'} {words[most]}"
            )
            raise ValueError(f"it takes {count} number{'s' * (most > 1)}")
        for (name, (low, high)), value in zip(cls.numbers.items(), arguments, strict=False):
            if value < low or (high is not None and value > high):
                allowed = f"be {low} or more" if high is None else f"lie in {low} ... {high}"
                raise ValueError(f"{name.upper()} must {allowed}")
        return cls(*arguments)

    @classmethod
    def _needed(cls) -> int:
        return sum(1 for f in fields(cls) if f.name in cls.numbers and f.default is MISSING)

    def check(self, shape: Shape) -> None:
        """Raises UsageError for images (h, w, c) to which it cannot be applied."""

    def output(self, shape: Shape) -> Shape:
        """(h, w, c) of its result."""
        return shape

    def fit(self, images: U8) -> Operation:
        """The operation after it has measured the training images (n, h, w, c); by default it measures nothing."""
        return self

    def draws(self, seed: int, epoch: int, ids: I64) -> U32:
        """The random words (n, 4) of training images with the numbers `ids` (n,)."""
        return philox.blocks(seed, self.domain, epoch, ids)

    def apply(self, images: U8, words: U32, out: U8) -> None:
        """images, out: (n, h, w, c), C order, not overlapping; words: (n, 4) random words. Overwrites `out`."""
        raise NotImplementedError

    def still(self, images: U8, view: str) -> U8:
        """What evaluation sees: by default the images as they are. view: one of VIEWS."""
        return images


@dataclass(frozen=True, slots=True)
class Flip(Operation):
    """Mirrors left to right with p = 1/2."""

    name: ClassVar[str] = "flip"
    domain: ClassVar[int] = philox.Domain.AUGMENT_FLIP

    def apply(self, images: U8, words: U32, out: U8) -> None:
        augment.flip(images, words, out)


@dataclass(frozen=True, slots=True)
class AlternatingFlip(Flip):
    """Mirrors left to right with p = 1/2 in the first epoch, then in every second one (Jordan, arXiv 2404.00498)."""

    name: ClassVar[str] = "altflip"
    domain: ClassVar[int] = philox.Domain.AUGMENT_ALTFLIP

    def draws(self, seed: int, epoch: int, ids: I64) -> U32:
        words = philox.blocks(seed, self.domain, 0, ids)
        if epoch % 2:
            words[:, 0] ^= np.uint32(2**31)  # the bit that `augment.flip` looks at
        return words


@dataclass(frozen=True, slots=True)
class FlipVertical(Operation):
    """Mirrors top to bottom with p = 1/2."""

    name: ClassVar[str] = "vflip"
    domain: ClassVar[int] = philox.Domain.AUGMENT_FLIP_VERTICAL

    def apply(self, images: U8, words: U32, out: U8) -> None:
        augment.flip_vertical(images, words, out)


@dataclass(frozen=True, slots=True)
class Crop(Operation):
    """Pads on all sides, then crops to the old size; all offsets are equally likely."""

    name: ClassVar[str] = "crop"
    domain: ClassVar[int] = philox.Domain.AUGMENT_CROP
    numbers: ClassVar[dict[str, tuple[int, int | None]]] = {"pad": (1, None), "fill": BYTE}

    pad: int
    fill: int = 0  #: value of the padding pixels, before normalisation

    def check(self, shape: Shape) -> None:
        """The padding must be smaller than the image: a crop must show a part of the image."""
        side = min(shape[:2])
        if self.pad >= side:
            images = f"images are {shape[0]} x {shape[1]}"
            raise UsageError(f"augmentation {self.name}:{self.pad}: {images}; PAD must lie in 1 ... {side - 1}")

    def framed(self, images: U8) -> U8:
        """With the padding."""
        return _padded(images, self.pad, self.fill)

    def apply(self, images: U8, words: U32, out: U8) -> None:
        augment.crop(images, words, self.pad, self.fill, out)

    def still(self, images: U8, view: str) -> U8:
        """Corners are the outermost crops of the padded image."""
        if view == "centre":
            return images
        return _cut(self.framed(images), (images.shape[1], images.shape[2]), view)


@dataclass(frozen=True, slots=True)
class Reflect(Crop):
    """As Crop, but the padding is the mirror image of what lies next to it."""

    name: ClassVar[str] = "reflect"
    domain: ClassVar[int] = philox.Domain.AUGMENT_REFLECT
    numbers: ClassVar[dict[str, tuple[int, int | None]]] = {"pad": (1, None)}

    def framed(self, images: U8) -> U8:
        return np.pad(images, ((0, 0), (self.pad, self.pad), (self.pad, self.pad), (0, 0)), "reflect")

    def apply(self, images: U8, words: U32, out: U8) -> None:
        augment.reflect(images, words, self.pad, out)


@dataclass(frozen=True, slots=True)
class CutWindow(Operation):
    """Pads on all sides, then crops to a smaller size; evaluation sees the center, without padding."""

    name: ClassVar[str] = "window"
    domain: ClassVar[int] = philox.Domain.AUGMENT_WINDOW
    numbers: ClassVar[dict[str, tuple[int, int | None]]] = {
        "height": (1, None),
        "width": (1, None),
        "pad": (0, None),
        "fill": BYTE,
    }

    height: int
    width: int
    pad: int = 0
    fill: int = 0

    def check(self, shape: Shape) -> None:
        """It must fit into the image, and be larger than the padding."""
        h, w, _ = shape
        if self.height > h or self.width > w or self.pad >= min(self.height, self.width):
            raise UsageError(
                f"augmentation window:{self.height}:{self.width}:{self.pad}: images are {h} x {w}; HEIGHT must lie in "
                f"1 ... {h}, WIDTH in 1 ... {w}, PAD below both"
            )

    def output(self, shape: Shape) -> Shape:
        return self.height, self.width, shape[2]

    def apply(self, images: U8, words: U32, out: U8) -> None:
        augment.crop(images, words, self.pad, self.fill, out)

    def still(self, images: U8, view: str) -> U8:
        """The center, or a corner."""
        return _cut(images, (self.height, self.width), view)


@dataclass(frozen=True, slots=True)
class Pad(Operation):
    """Adds a frame, in evaluation as well (MNIST: 28 x 28 -> 32 x 32)."""

    name: ClassVar[str] = "pad"
    domain: ClassVar[int] = 0
    numbers: ClassVar[dict[str, tuple[int, int | None]]] = {"pad": (1, 256), "fill": BYTE}

    pad: int
    fill: int = 0

    def output(self, shape: Shape) -> Shape:
        return shape[0] + 2 * self.pad, shape[1] + 2 * self.pad, shape[2]

    def apply(self, images: U8, words: U32, out: U8) -> None:  # nothing is drawn
        out[...] = self.fill
        out[:, self.pad : -self.pad, self.pad : -self.pad] = images

    def still(self, images: U8, view: str) -> U8:  # a frame looks the same from everywhere
        return _padded(images, self.pad, self.fill)


@dataclass(frozen=True, slots=True)
class Rotate(Operation):
    """Rotates by up to DEGREES in either direction, bilinear; pixels from outside the image are FILL."""

    name: ClassVar[str] = "rotate"
    domain: ClassVar[int] = philox.Domain.AUGMENT_ROTATE
    numbers: ClassVar[dict[str, tuple[int, int | None]]] = {"degrees": (1, 180), "fill": BYTE}

    degrees: int
    fill: int = 0

    def apply(self, images: U8, words: U32, out: U8) -> None:
        warp.rotate(images, words, self.degrees, self.fill, out)


@dataclass(frozen=True, slots=True)
class Elastic(Operation):
    """Moves pixels along a random field of -1, 0 and 1, smoothed by a Gaussian of SIGMA pixels, times ALPHA."""

    name: ClassVar[str] = "elastic"
    domain: ClassVar[int] = philox.Domain.AUGMENT_ELASTIC
    numbers: ClassVar[dict[str, tuple[int, int | None]]] = {"alpha": (1, 1000), "sigma": (1, 1000), "fill": BYTE}

    alpha: int = 36  #: this and sigma are the defaults of the predecessors' elastic_transform
    sigma: int = 6
    fill: int = 0

    def apply(self, images: U8, words: U32, out: U8) -> None:
        warp.elastic(images, words, self.alpha, warp.gaussian(self.sigma), self.fill, out)


@dataclass(frozen=True, slots=True)
class Contrast(Operation):
    """Scales values about the mean of the image, by up to PERCENT up or down."""

    name: ClassVar[str] = "contrast"
    domain: ClassVar[int] = philox.Domain.AUGMENT_CONTRAST
    numbers: ClassVar[dict[str, tuple[int, int | None]]] = {"percent": (1, 100)}

    percent: int = 20

    def apply(self, images: U8, words: U32, out: U8) -> None:
        augment.contrast(images, words, self.percent, out)


@dataclass(frozen=True, slots=True)
class Tint(Operation):
    """Adds a number from -AMOUNT to AMOUNT (of 255) to each channel."""

    name: ClassVar[str] = "tint"
    domain: ClassVar[int] = philox.Domain.AUGMENT_TINT
    numbers: ClassVar[dict[str, tuple[int, int | None]]] = {"amount": (1, 255)}

    amount: int = 10

    def check(self, shape: Shape) -> None:
        """One random word per channel: there are four."""
        if shape[2] > 4:
            raise UsageError(f"augmentation tint: images have {shape[2]} channels; it takes at most 4")

    def apply(self, images: U8, words: U32, out: U8) -> None:
        augment.tint(images, words, self.amount, out)


@dataclass(frozen=True, slots=True)
class Pca(Operation):
    """Shifts the colours of an image along the principal components of the training set's colours.

    AlexNet adds sum p_i a_i l_i with eigenvectors p_i and eigenvalues l_i of the covariance C, a_i normal with standard
    deviation PERCENT / 100. That is a normal vector of covariance (PERCENT / 100)^2 C C, and so is PERCENT / 100 * C z
    with three independent normal z: the same distribution without eigenvectors, whose bits differ between libraries.
    """

    name: ClassVar[str] = "pca"
    domain: ClassVar[int] = philox.Domain.AUGMENT_PCA
    numbers: ClassVar[dict[str, tuple[int, int | None]]] = {"percent": (1, 100)}

    percent: int = 10
    matrix: tuple[tuple[int, ...], ...] = ()  #: C * PERCENT / 100, colours in 0 ... 1, times 255, in units of 2^-16

    def check(self, shape: Shape) -> None:
        """Only images with three channels have colours."""
        if shape[2] != 3:
            raise UsageError(f"augmentation pca: images have {shape[2]} channel(s); it is for 3")

    def fit(self, images: U8) -> Pca:
        """Measures the covariance of the colours from sums of integers: exact, rounded once."""
        n = images.size // 3
        sums, products = np.zeros(3, np.int64), np.zeros((3, 3), np.int64)
        for at in range(0, len(images), 500):
            planes = images[at : at + 500].reshape(-1, 3).T.astype(np.int64)
            sums += planes.sum(axis=1)
            for a in range(3):
                for b in range(a + 1):
                    products[a, b] += (planes[a] * planes[b]).sum()
        s, q = sums.tolist(), products.tolist()
        scaled = [
            [(n * q[max(a, b)][min(a, b)] - s[a] * s[b]) * self.percent * 65536 for b in range(3)] for a in range(3)
        ]
        unit = n * n * 255 * 100
        return replace(self, matrix=tuple(tuple((2 * v + unit) // (2 * unit) for v in row) for row in scaled))

    def apply(self, images: U8, words: U32, out: U8) -> None:
        if not self.matrix:
            raise ValueError("pca has not measured the training images: call fit first")
        augment.shift(images, words, np.array(self.matrix, np.int64), out)


@dataclass(frozen=True, slots=True)
class Noise(Operation):
    """One of three kinds of noise per image: SALT percent of the values become 0 or 255; Gaussian noise with a standard
    deviation of GAUSSIAN; or noise proportional to the value, SPECKLE percent.

    The defaults are those of the library that the predecessors used. A strength of 0 turns a kind off.
    """

    name: ClassVar[str] = "noise"
    domain: ClassVar[int] = philox.Domain.AUGMENT_NOISE
    numbers: ClassVar[dict[str, tuple[int, int | None]]] = {"salt": (0, 100), "gaussian": BYTE, "speckle": (0, 100)}

    salt: int = 5
    gaussian: int = 26
    speckle: int = 10

    def check(self, shape: Shape) -> None:
        """At least one kind must be on."""
        if not (self.salt or self.gaussian or self.speckle):
            raise UsageError("augmentation noise:0:0:0: one of the three must be more than 0")

    def apply(self, images: U8, words: U32, out: U8) -> None:
        augment.noise(images, words, (self.salt, self.gaussian, self.speckle), out)


@dataclass(frozen=True, slots=True)
class Cutout(Operation):
    """Paints a square; its center is a random pixel of the image."""

    name: ClassVar[str] = "cutout"
    domain: ClassVar[int] = philox.Domain.AUGMENT_CUTOUT
    numbers: ClassVar[dict[str, tuple[int, int | None]]] = {"side": (1, None), "fill": BYTE}

    side: int
    fill: int = 0

    def check(self, shape: Shape) -> None:
        """The square must be smaller than the image."""
        h, w, _ = shape
        if self.side >= min(h, w):
            raise UsageError(
                f"augmentation cutout:{self.side}: images are {h} x {w}; SIDE must lie in 1 ... {min(h, w) - 1}"
            )

    def apply(self, images: U8, words: U32, out: U8) -> None:
        augment.cutout(images, words, self.side, self.fill, out)


OPERATIONS: dict[str, type[Operation]] = {
    operation.name: operation
    for operation in (
        *(Flip, AlternatingFlip, FlipVertical, Crop, Reflect, CutWindow, Pad),
        *(Rotate, Elastic, Contrast, Tint, Pca, Noise, Cutout),
    )
}


def _padded(images: U8, pad: int, fill: int) -> U8:
    padded: U8 = np.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)), constant_values=fill)
    return padded


def _cut(images: U8, size: tuple[int, int], view: str) -> U8:
    """The center (an odd remainder is larger below and on the right), or a corner."""
    _, h, w, _ = images.shape
    top = (h - size[0]) // 2 if view == "centre" else 0 if "upper" in view else h - size[0]
    left = (w - size[1]) // 2 if view == "centre" else 0 if "left" in view else w - size[1]
    return np.ascontiguousarray(images[:, top : top + size[0], left : left + size[1]])
