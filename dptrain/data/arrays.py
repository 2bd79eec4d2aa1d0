"""Images and labels as a user's program has them -> images and labels of one part of a data set.

Arrays, or objects that give (image, label) by number, as the data sets of torchvision and Hugging Face do. Nothing is
guessed: where an array can be read in two ways, the user says which.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeGuard

import numpy as np
from PIL import Image

from dptrain.data.imagefile import opaque
from dptrain.errors import DataError, DptrainError, UsageError
from dptrain.types import F64, I64, U8

LAYOUTS = ("nhw", "nhwc", "nchw")
_CHANNELS = (1, 3)  #: numbers of channels by which a layout is recognised
_BLOCK = 256  #: images that are converted at once
_LARGE = 1e30  #: pixels are smaller
_ROUNDED = 0.01  #: of 255; a larger change of a pixel is reported
_IMAGES, _LABELS = ("image", "img", "pixel_values"), ("label", "labels")  #: keys of Hugging Face's data sets
_log = logging.getLogger(__name__)


class Reading(NamedTuple):
    """What the user says about the pixels."""

    span: object = None  #: the values of black and white; None: 0 and 255, and floats are refused
    layout: str = ""  #: one of LAYOUTS; "": recognised


PLAIN = Reading()  #: the user has said nothing


class Labelled(NamedTuple):
    """Images and labels of one part, and the names of the classes if the object knows them."""

    images: U8  #: (n, h, w, c)
    labels: I64  #: (n,)
    classes: tuple[str, ...] = ()


def labelled(given: object, labels: object, what: str, reading: Reading) -> Labelled:
    """`given`: images, with `labels`; or without them a pair of both, or an object that gives (image, label) by number.

    `what` names the part in errors: "x", "test". Raises DataError.
    """
    if labels is None and isinstance(given, tuple | list) and len(given) == 2 and not _is_item(given):
        given, labels = given
    if labels is None:
        return _from_items(given, what, reading)
    if isinstance(labels, tuple | list) and len(labels) == 2 and len(getattr(labels[0], "shape", ())) > 2:
        raise DataError(f"{what}: the labels are a pair with images: write fit(*train, test=test) for two pairs (x, y)")
    if _gives_items(given) and isinstance(_item(given.__getitem__, 0, what), tuple | Mapping):
        raise DataError(f"{what} is {with_article(given)}, which gives the labels itself: leave the others out")
    images, numbers = pixels(given, what, reading), _numbers(labels, what)
    if len(images) != numbers.size:
        raise DataError(
            f"{what}: {counted(len(images), 'image')}, but {counted(numbers.size, 'label')}: one per image is needed"
        )
    return Labelled(images, numbers)


def pixels(given: object, what: str, reading: Reading) -> U8:
    """(n, h, w, c), C order, of an array or a list of images. Raises DataError."""
    if isinstance(given, list | tuple) and given and isinstance(given[0], Image.Image):
        given = np.stack(_alike([_picture(image) for image in given], what))
    array, span = _array(given, what), None if reading.span is None else _span(reading.span)
    if array.size == 0:
        raise DataError(f"{what}: there are no images (shape {array.shape})")
    return _bytes(_ordered(array, what, reading.layout), what, span)


# --- arrays


def counted(number: int, noun: str) -> str:
    """`number` with its noun: 1 image, 2 images."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def is_number(value: object) -> TypeGuard[int | float | np.integer[Any] | np.floating[Any]]:
    """Whether it is a number of Python or NumPy, and no truth value."""
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def with_article(given: object) -> str:
    """The type with its article."""
    name = type(given).__name__
    return f"{'an' if name[0] in 'aeioAEIO' or name == 'ndarray' else 'a'} {name}"


def _array(given: object, what: str, *, labels: bool = False) -> np.ndarray[Any, np.dtype[Any]]:
    be, hold = ("are", "hold") if labels else ("is", "holds")
    if hasattr(given, "__next__") or not (hasattr(given, "__array__") or isinstance(given, list | tuple)):
        remedy = "an array or a list with one whole number per image is needed" if labels else _remedy(given)
        raise DataError(f"{what} {be} {with_article(given)}: {remedy}")
    if isinstance(given, np.ma.MaskedArray):
        raise DataError(f"{what} {be} a masked array: fill its masked values first, as in x.filled(0)")
    try:
        array = np.asarray(given)
    except ValueError as error:
        raise DataError(f"{what}: the images or labels have different shapes; all must have the same one") from error
    except (TypeError, RuntimeError) as error:  # a tensor of a GPU, or one that needs a gradient
        raise DataError(f"{what} cannot be read as an array: {' '.join(str(error).split())}") from error
    if array.dtype == object:
        odd = [
            one
            for one in array.reshape(-1)
            if not labels or not isinstance(one, int | np.integer) or isinstance(one, bool)
        ]
        if odd or not array.size:
            raise DataError(f"{what} {hold} {type(odd[0]).__name__ if odd else 'nothing'}: numbers are needed")
    return array


def _remedy(given: object) -> str:
    if hasattr(given, "__next__") or (hasattr(given, "__iter__") and not hasattr(given, "__len__")):
        return (
            "it gives its images once and in one order, but workers need each image by its number, again in every "
            "epoch: collect them into arrays"
        )
    if isinstance(given, Mapping) and given:
        return f"give its parts, such as data[{next(iter(given))!r}]"
    if hasattr(given, "__iter__") and hasattr(given, "dataset"):
        return "it gives batches: give its .dataset"
    return (
        "an array of images with one of labels is needed, or an object with __len__ and __getitem__ -> (image, label)"
    )


def _ordered(array: np.ndarray[Any, np.dtype[Any]], what: str, layout: str) -> np.ndarray[Any, np.dtype[Any]]:
    """As (n, h, w, c); the layout is recognised by 1 or 3 channels."""
    shape = array.shape
    if layout and layout not in LAYOUTS:
        raise DataError(f"layout = {layout!r}: must be one of {', '.join(LAYOUTS)}")
    if array.ndim == 3 and layout in ("", "nhw"):
        return array[..., np.newaxis]
    if array.ndim != 4 or layout == "nhw":
        flat = ": give x.reshape(n, height, width)" if array.ndim == 2 else ""
        wanted = "(n, h, w)" if layout == "nhw" else "(n, h, w), (n, h, w, c) or (n, c, h, w)"
        raise DataError(f"{what} has shape {shape}; {wanted} is needed{flat}")
    if not layout:
        last, second = shape[3] in _CHANNELS, shape[1] in _CHANNELS
        if last == second:
            which = "both its second and its last side could be channels" if last else "no side of 1 or 3 for channels"
            raise DataError(f'{what} has shape {shape}, {which}: say layout="nhwc" or layout="nchw"')
        layout = "nhwc" if last else "nchw"
    return array if layout == "nhwc" else array.transpose(0, 2, 3, 1)


def _bytes(array: np.ndarray[Any, np.dtype[Any]], what: str, span: tuple[float, float] | None) -> U8:
    if array.dtype == np.uint8 and span in (None, (0, 255)):
        return np.ascontiguousarray(array)
    if array.dtype.kind in "iufb" and span is not None:
        return _scaled(array, what, span)
    if array.dtype.kind in "iu":
        low, high = int(array.min()), int(array.max())
        if low < 0 or high > 255:
            raise DataError(f"{what} holds {array.dtype} from {low} to {high}; whole numbers must be from 0 to 255")
        return np.ascontiguousarray(array, np.uint8)
    if array.dtype.kind != "f":
        hint = ": give pixel_range=(0, 1)" if array.dtype == bool else ""
        raise DataError(f"{what} holds {array.dtype}; uint8 is needed, or floats with their pixel_range{hint}")
    raise DataError(
        f"{what} holds {array.dtype} from {array.min():g} to {array.max():g}: say what is black and what is "
        "white, such as pixel_range=(0, 1)"
    )


def _scaled(array: np.ndarray[Any, np.dtype[Any]], what: str, span: tuple[float, float]) -> U8:
    """Numbers of any kind, rounded to the nearest of 256 levels; exact for levels that were divided by 255."""
    low, high = span
    out = np.empty(array.shape, np.uint8)
    change = 0.0
    for at in range(0, len(array), _BLOCK):
        block: F64 = array[at : at + _BLOCK].astype(np.float64)
        outside = ~((block >= low) & (block <= high))  # also NaN
        if outside.any():
            where = np.argwhere(outside)[0]
            value = block[tuple(where)]
            raise DataError(
                f"{what}: image {at + where[0]} has the value {value:g}; pixel_range is {low:g} to {high:g}"
            )
        levels = (block - low) * (255.0 / (high - low))
        rounded = np.rint(levels)
        change = max(change, float(np.abs(levels - rounded).max()))
        out[at : at + _BLOCK] = rounded
    if change > _ROUNDED:
        _log.warning("%s: its values are rounded to 256 levels; the largest change is %.2f of 255", what, change)
    return out


def _span(given: object) -> tuple[float, float]:
    values = given.tolist() if isinstance(given, np.ndarray) else given
    match values:
        case [low, high] if is_number(low) and is_number(high) and -_LARGE < low < high < _LARGE:
            if float(high) - float(low) > 1 / _LARGE:
                return float(low), float(high)
    raise DataError(f"pixel_range = {given!r}: must be the values of black and white, such as (0, 1) or (-1, 1)")


def _numbers(given: object, what: str) -> I64:
    """(n,) labels, from 0. Raises DataError."""
    array = _array(given, f"the labels of {what}", labels=True)
    if array.dtype.kind in "US":
        raise DataError(
            f"the labels of {what} are texts ({str(array.reshape(-1)[0])!r}): give numbers from 0, and class_names"
        )
    if array.ndim == 2 and array.shape[1] > 1:
        raise DataError(
            f"the labels of {what} have shape {array.shape}: one number per image is needed, such as y.argmax(axis=1)"
        )
    if array.ndim not in (1, 2) or array.size == 0:
        raise DataError(f"the labels of {what} have shape {array.shape}: (n,) is needed")
    if array.dtype.kind not in "iubO":
        raise DataError(f"the labels of {what} are {array.dtype}: whole numbers are needed, such as y.astype(int)")
    flat = array.reshape(-1)
    for at in (int(flat.argmin()), int(flat.argmax())):
        if not 0 <= int(flat[at]) < 1 << 63:
            raise DataError(f"the labels of {what}: label {at} is {flat[at]}; labels are whole numbers from 0")
    return flat.astype(np.int64)


# --- objects that give one image at a time


def _is_item(pair: Sequence[object]) -> bool:
    """Whether a list of two is two (image, label) pairs, and not a pair of arrays."""
    return all(isinstance(one, tuple | list) and len(one) == 2 and np.ndim(one[1]) == 0 for one in pair)


def _gives_items(given: object) -> TypeGuard[Sequence[object]]:
    """Whether it is an object with items, and neither an array nor a list."""
    other = isinstance(given, Mapping | str | bytes | list | tuple) or hasattr(given, "__array__")
    return not other and hasattr(given, "__getitem__") and hasattr(given, "__len__") and len(given) > 0


def _item(get: Callable[[int], object], at: int, what: str) -> object:
    """The item `at` of the object `what`. Raises UsageError for any error of the user's object."""
    try:
        return get(at)
    except DptrainError:
        raise
    except Exception as error:
        text = " ".join(f"{type(error).__name__}: {error}".split())
        raise UsageError(f"{what}[{at}] cannot be read: {text}") from error


def _from_items(given: object, what: str, reading: Reading) -> Labelled:
    if not (hasattr(given, "__len__") and hasattr(given, "__getitem__")) or isinstance(given, Mapping | str | bytes):
        raise DataError(f"{what} is {with_article(given)}: {_remedy(given)}")
    if hasattr(given, "__array__"):
        raise DataError(f"{what} has no labels: give both, as in fit(x, y) and test=(x, y)")
    count = len(given)
    if count == 0:
        raise DataError(f"{what} holds no images")
    images, labels, key = [], [], ""
    for at in range(count):
        image, label, key = _pair(_item(given.__getitem__, at, what), f"{what}[{at}]")
        images.append(_picture(image))
        labels.append(label)
    stacked = pixels(np.stack(_alike(images, what)), what, reading)
    return Labelled(stacked, _numbers(labels, what), _classes_of(given, key))


def _pair(item: object, what: str) -> tuple[object, object, str]:
    """The image, the label, and the key of the label."""
    if isinstance(item, Mapping):
        keys = [[key for key in item if key in wanted] for wanted in (_IMAGES, _LABELS)]
        if len(keys[0]) == len(keys[1]) == 1:
            return item[keys[0][0]], item[keys[1][0]], str(keys[1][0])
        raise DataError(
            f"{what} has the keys {', '.join(map(str, item))}; one of {', '.join(_IMAGES)} and one of "
            f"{', '.join(_LABELS)} are needed: rename the columns"
        )
    if isinstance(item, tuple | list) and len(item) == 2:
        return item[0], item[1], ""
    raise DataError(f"{what} is {with_article(item)}: (image, label) is needed")


def _picture(image: object) -> np.ndarray[Any, np.dtype[Any]]:
    """One image as an array; a picture of Pillow is turned into 8 bits per value, grey or colour."""
    if isinstance(image, Image.Image):
        grey = image.mode in ("1", "L", "LA") and not image.has_transparency_data
        if image.mode in ("I", "F", "I;16", "I;16B", "I;16L"):
            raise DataError(f"a picture has more than 8 bits per value (mode {image.mode}): convert it first")
        return np.asarray(opaque(image, "L" if grey else "RGB"))
    return _array(image, "an image")


def _alike(images: list[np.ndarray[Any, np.dtype[Any]]], what: str) -> list[np.ndarray[Any, np.dtype[Any]]]:
    """The images. Raises DataError unless all have one shape."""
    for at, image in enumerate(images):
        if image.shape != images[0].shape:
            raise DataError(
                f"{what}: image {at} has shape {image.shape}, image 0 {images[0].shape}: all must have the same one; "
                "resize them first"
            )
    return images


def _classes_of(given: object, key: str) -> tuple[str, ...]:
    """As torchvision's data sets (`classes`) and Hugging Face's (`features`) have them."""
    features = getattr(given, "features", None)
    names = getattr(features[key], "names", None) if key and isinstance(features, Mapping) and key in features else None
    names = getattr(given, "classes", None) if names is None else names
    if isinstance(names, np.ndarray):
        names = names.tolist()
    if isinstance(names, list | tuple) and all(isinstance(name, str) for name in names):
        return tuple(names)
    return ()
