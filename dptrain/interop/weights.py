"""The named arrays of a file of weights, whichever program wrote it, and how a new run takes them over."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import fsum
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open

from dptrain.errors import DataError, UsageError
from dptrain.interop.torchfile import about_torch, plain, read_torch
from dptrain.model import ParamLayout, within
from dptrain.runs.checkpoint import load
from dptrain.runs.shelf import find
from dptrain.types import F32

TORCH = (".pt", ".pth", ".th")
SAFETENSORS = ".safetensors"
ABOUT = "dptrain.about"  #: key of the JSON object in the metadata of an exported .safetensors or .onnx file


class Normalisation(NamedTuple):
    """What the pixels were normalised with, per channel, in units of 0..255."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """What a file of weights holds. Names are PyTorch's, as in `dptrain.model.ParamSpec`."""

    path: Path
    arrays: dict[str, F32]
    normalisation: Normalisation | None = None  #: None: the file does not say
    classes: tuple[str, ...] = ()  #: names of the outputs, in their order; (): the file does not say

    def sha256(self) -> str:
        """Hex digest over the names, shapes and values of the arrays, whatever the format of the file, and the classes.

        The names of the classes decide what a new run takes: the same arrays without names are other weights.
        """
        h = hashlib.sha256()
        for name in sorted(self.arrays):
            array = self.arrays[name]
            h.update(f"{name} {array.shape}\n".encode())
            h.update(np.ascontiguousarray(array, "<f4").data)
        if self.classes:
            h.update(json.dumps(self.classes).encode())
        return h.hexdigest()

    def pinned(self, digest: str) -> Weights | None:
        """These weights as `digest` ("": any) names them; None if it names others.

        A digest over the arrays alone, as runs recorded it before classes were compared, gives them without classes:
        such a run begins with the bits that it had.
        """
        return next((w for w in (self, replace(self, classes=())) if digest in ("", w.sha256())), None)


def read_weights(target: str | Path) -> Weights:
    """The best (else last) weights of a run directory, or those of a .safetensors, .pt, .pth or .th file.

    Raises CheckpointError, DataError and UsageError.
    """
    path = Path(target).expanduser()
    if path.is_dir():
        path = find(path)
    if not path.is_file():
        raise UsageError(f"start = {str(target)!r}: no such file or run directory")
    if path.suffix in TORCH:
        return Weights(path, _floats(path, read_torch(path)), *_described(about_torch(path)))
    if path.suffix == SAFETENSORS:
        return _safetensors(path)
    raise UsageError(
        f"start = {str(target)!r}: weights are a run directory, or a file {', '.join((SAFETENSORS, *TORCH))} "
        "(`dptrain import` reads PyFunt's model.npy)"
    )


def _safetensors(path: Path) -> Weights:
    try:
        with safe_open(path, framework="numpy") as file:
            metadata: dict[str, str] = file.metadata() or {}
            if "dptrain" in metadata:  # a checkpoint of ours
                return _checkpoint(path)
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no mapping
    except (OSError, SafetensorError, TypeError, ValueError) as error:
        raise DataError(f"{path} cannot be read as safetensors: {' '.join(str(error).split())[:200]}") from error
    return Weights(path, _floats(path, plain(arrays)), *_described(metadata.get(ABOUT, "")))


def _checkpoint(path: Path) -> Weights:
    checkpoint = load(path)
    prefix, data = "model.", checkpoint.facts.data
    arrays = {name.removeprefix(prefix): a for name, a in checkpoint.tensors.items() if name.startswith(prefix)}
    return Weights(path, arrays, Normalisation(by_channel(data.mean, data.image[2]), data.std), data.classes)


def by_channel(mean: Sequence[float], channels: int) -> tuple[float, ...]:
    """One mean per channel: of a mean image (h, w, c) the mean over its pixels. The sum is exact in any order."""
    return tuple(fsum(mean[channel::channels]) / len(mean[channel::channels]) for channel in range(channels))


def _floats(path: Path, arrays: dict[str, Any]) -> dict[str, F32]:
    for name, array in arrays.items():
        if array.dtype.kind != "f":
            raise DataError(f"{path}: {name} holds {array.dtype}; weights are floating-point numbers")
        if not np.isfinite(array).all():
            raise DataError(f"{path}: {name} holds NaN or infinity")
    return {name: np.ascontiguousarray(array, np.float32) for name, array in arrays.items()}


def _described(about: str) -> tuple[Normalisation | None, tuple[str, ...]]:
    """Normalisation and classes, from the text that an exported file carries."""
    try:
        known = json.loads(about)
    except (ValueError, RecursionError):
        return None, ()
    if not isinstance(known, dict):
        return None, ()
    names = known.get("classes")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        names = []
    return _normalisation(known), tuple(names)


def _normalisation(known: dict[str, Any]) -> Normalisation | None:
    try:
        mean, std = (tuple(map(float, known[key])) for key in ("mean", "std"))
    except (ValueError, KeyError, TypeError):
        return None
    if not mean or not std or len(mean) % len(std):
        return None
    return Normalisation(by_channel(mean, len(std)), std)


# --- into a new network


def take_over(
    weights: Weights,
    params: tuple[ParamLayout, F32],
    buffers: tuple[ParamLayout, F32],
    anew: tuple[str, ...],
    classes: tuple[str, ...],
) -> str:
    """Copies the arrays of the file into the vectors, which hold what was drawn; returns what to tell the user.

    Every array must be in the file in the same shape, and the file must hold no other. Exceptions: those whose names
    begin with one of `anew` stay as drawn, and so does the last layer if its number of outputs differs, or if the file
    names other classes than `classes`. The same classes in another order permute its rows. Raises UsageError.
    """
    found, path = weights.arrays, weights.path
    kept: list[str] = []
    known = [spec for layout, _ in (params, buffers) for spec in layout.specs]
    _refuse_unknown(anew, [*found, *(spec.name for spec in known)])
    if strange := sorted(set(found) - {spec.name for spec in known} - _chosen(found, anew)):
        raise UsageError(
            f"start: {path} has {_first(strange)}, which this network does not have: describe the network of the file "
            f"with flags, or leave these arrays with --anew {_layer(strange[0])}"
        )
    head = _layer(params[0].specs[-1].name)
    order = _order(weights.classes, classes)
    if order != [] and not within(head, anew):
        _refuse_other_head(weights, params[0], head, len(classes))
    for layout, flat in (params, buffers):
        for spec, at in layout.items():
            array = found.get(spec.name)
            if within(spec.name, anew):
                kept.append(spec.name)
            elif array is None:
                raise UsageError(
                    f"start: {path} has no {spec.name}, which the network needs: describe the network of the file with "
                    f"flags, or draw it with --anew {_layer(spec.name)}"
                )
            elif array.shape == spec.shape and not (order is None and within(spec.name, (head,))):
                moved = order and within(spec.name, (head,)) and len(array) == len(classes)
                flat[at : at + spec.size] = (array[order] if moved else array).reshape(-1)
            elif within(spec.name, (head,)) and array.shape[1:] == spec.shape[1:]:
                kept.append(spec.name)
            else:
                raise UsageError(
                    f"start: {spec.name} has shape {array.shape} in {path}, the network needs {spec.shape}: describe "
                    f"the network of the file with flags, or draw it with --anew {_layer(spec.name)}"
                )
    taken = len(known) - len(kept)
    drawn = f"; drawn anew: {', '.join(kept)}" if kept else ""
    return f"start: {taken} of {len(known)} arrays are those of {path}{_difference(order, weights, head, anew)}{drawn}"


def _order(theirs: tuple[str, ...], ours: tuple[str, ...]) -> list[int] | None:
    """Which row of their last layer belongs to each of our classes; []: the same one, or they have no names.

    None: they are other classes.
    """
    if theirs in ((), ours):
        return []
    return (
        [theirs.index(name) for name in ours] if sorted(theirs) == sorted(ours) and len({*ours}) == len(ours) else None
    )


def _difference(order: list[int] | None, weights: Weights, head: str, anew: tuple[str, ...]) -> str:
    """What to tell of the classes, beginning with a semicolon; "" where nothing was done about them."""
    if order == [] or within(head, anew):
        return ""
    if order is not None:
        return f"; its classes are in another order: the rows of {head} are permuted by the names of the classes"
    shown = ", ".join(map(repr, weights.classes[:3])) + (", ..." if len(weights.classes) > 3 else "")
    return f"; it has other classes ({shown})"


def _refuse_other_head(weights: Weights, layout: ParamLayout, head: str, classes: int) -> None:
    """Raises UsageError if the last layer has no row per class: it cannot be drawn anew or permuted by itself."""
    mine = [spec.shape for spec in layout.specs if within(spec.name, (head,))]
    if not any(len(shape) > 1 and shape[0] == classes for shape in mine):
        raise UsageError(
            f"start: {weights.path} has other classes, or another order of them, and {head}, the last layer with "
            f"weights, has no row per class: name the layers to draw, {head} among them, with --anew"
        )


def _layer(name: str) -> str:
    """`layer1.0.conv1.weight` -> `layer1.0.conv1`."""
    return name.rpartition(".")[0] or name


def _chosen(names: Iterable[str], anew: tuple[str, ...]) -> set[str]:
    return {name for name in names if within(name, anew)}


def _refuse_unknown(anew: tuple[str, ...], names: list[str]) -> None:
    for prefix in anew:
        if not _chosen(names, (prefix,)):
            raise UsageError(f"anew = {prefix!r}: neither the file nor the network has an array of that name")


def _first(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
