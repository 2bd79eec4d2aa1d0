"""What PyFunt's model.npy is here: which of our networks has these weights, and under which names.

Its ResNet (v0.1b) is ours with block "relu-before" and shortcut "avgpool": its stride-2 convolutions see a frame above
and to the left only, which for even sides are the same windows. Convolutions are numbered 1 ... 6n+1, hidden affine
layers and the last one from 6n+3 on (6n+2 is the pooling).

Its ReLU was upside down: min(v, 0) = -relu(-v). Such a network is one with a right ReLU whose maps have the other sign.
The stem's scale and shift change theirs; behind it a map with the other sign gives a convolution with the other sign,
normalised values with the other sign, so only the shift of each BatchNorm changes its sign; and so do the last affine
layer's weights, for the scores to stay. What a convolution adds to every pixel (b) is taken off again by BatchNorm.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from dptrain.config import ModelConfig
from dptrain.errors import DataError
from dptrain.types import Floats


class PyfuntNetwork(NamedTuple):
    """Ready for a network built from `config`. BatchNorm's running statistics were never saved."""

    config: ModelConfig
    classes: int
    tensors: dict[str, Floats]  #: by our names


def our_network(found: dict[str, Floats], path: Path, *, upside_down: bool = True) -> PyfuntNetwork:
    """found: as `read_pyfunt` gives it. upside_down: the ReLU it was trained with. Raises DataError naming `path`."""
    convolutions = sum(1 for name, array in found.items() if name.startswith("W") and array.ndim == 4)
    n, rest = divmod(convolutions - 1, 6)
    numbers = sorted(int(name[1:]) for name in found if name[:1] == "W" and name[1:].isdecimal())
    affine = numbers[convolutions:]
    if (
        n < 1
        or rest
        or not affine
        or numbers != [*range(1, convolutions + 1), *range(convolutions + 2, affine[-1] + 1)]
    ):
        raise DataError(
            f"{path} has {convolutions} convolutions and {len(numbers) - convolutions} affine layers; PyFunt's ResNet "
            "has 6n+1, and one or more"
        )
    sign = -1.0 if upside_down else 1.0
    out: dict[str, Floats] = {}
    for number, name in enumerate(_names(n), 1):
        layer, norm = name
        out[f"{layer}.weight"] = _get(found, path, f"W{number}")
        out[f"{norm}.weight"] = _get(found, path, f"gamma{number}") * (sign if number == 1 else 1.0)
        out[f"{norm}.bias"] = sign * _get(found, path, f"beta{number}")
    hidden = []
    for at, number in enumerate(affine[:-1]):
        weights = _get(found, path, f"W{number}").T
        hidden.append(weights.shape[0])
        out[f"hidden.{at}.weight"] = weights
        out[f"hidden.{at}.bias"] = sign * _get(found, path, f"b{number}")
        out[f"hidden.{at}.bn.weight"] = _get(found, path, f"gamma{number}")
        out[f"hidden.{at}.bn.bias"] = sign * _get(found, path, f"beta{number}")
    out["linear.weight"] = sign * _get(found, path, f"W{affine[-1]}").T
    out["linear.bias"] = _get(found, path, f"b{affine[-1]}")
    filters = out["conv1.weight"].shape[0]
    config = ModelConfig(n=n, filters=filters, hidden=tuple(hidden), block="relu-before", shortcut="avgpool")
    return PyfuntNetwork(config, len(out["linear.bias"]), out)


def _names(n: int) -> list[tuple[str, str]]:
    """Convolution and BatchNorm, in PyFunt's order."""
    blocks = (f"layer{stage}.{block}" for stage in (1, 2, 3) for block in range(n))
    return [("conv1", "bn1"), *((f"{b}.conv{k}", f"{b}.bn{k}") for b in blocks for k in (1, 2))]


def _get(found: dict[str, Floats], path: Path, name: str) -> Floats:
    if name not in found:
        raise DataError(f"{path} has no {name}, which PyFunt's ResNet of {len(found)} arrays would have")
    return found[name].astype(np.float32)
