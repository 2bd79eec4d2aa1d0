"""The seeds' experiments: which settings each of them varies. One function each: a configuration -> variants."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from dptrain.config import Config
from dptrain.configrules import RULES, Choice, Value
from dptrain.errors import UsageError


@dataclass(frozen=True, slots=True)
class Variant:
    """One row of an experiment's table."""

    label: str
    changes: dict[str, Value] = field(default_factory=dict)  #: fields of the configuration, by bare name

    @property
    def slug(self) -> str:
        """The label as part of a directory's name."""
        return re.sub(r"[^A-Za-z0-9.]+", "-", self.label).strip("-")


def _depth(_: Config, values: Sequence[str]) -> list[Variant]:
    """6n + 2 layers."""
    return [Variant(f"{6 * n + 2} layers", {"n": n}) for n in _numbers("n", values or ("1", "3", "5"))]


def _residual(base: Config, values: Sequence[str]) -> list[Variant]:
    """With and without shortcuts, at one or several depths."""
    depths = _numbers("n", values or (str(base.model.n),))
    return [
        Variant(f"{6 * n + 2} layers, {'residual' if on else 'plain'}", {"n": n, "residual": on})
        for n in depths
        for on in (True, False)
    ]


def _augmentation(base: Config, values: Sequence[str]) -> list[Variant]:
    """Without, and with the configuration's own operations (or the usual two)."""
    _takes_no_values("augmentation", values)
    return [Variant("off", {"augment": ()}), Variant("on", {"augment": base.data.augment or ("crop:4", "flip")})]


def _pad(base: Config, values: Sequence[str]) -> list[Variant]:
    """Crops out of a frame of this width; the other operations stay."""
    others = tuple(op for op in base.data.augment if op.split(":")[0] != "crop")
    if not base.data.augment:
        others = ("flip",)
    return [
        Variant(f"pad {pad}", {"augment": (f"crop:{pad}", *others) if pad else others})
        for pad in _whole("pad", values or ("0", "2", "4"))
    ]


def _filters(_: Config, values: Sequence[str]) -> list[Variant]:
    """Channels of the first stage."""
    return [Variant(f"{n} filters", {"filters": n}) for n in _numbers("filters", values or ("8", "16"))]


def _shards(base: Config, values: Sequence[str]) -> list[Variant]:
    """Samples that share their BatchNorm statistics."""
    batch = base.training.batch_size
    usual = [str(size) for size in (8, 16, 32, 64, 128, 256) if size <= batch and batch % size == 0]
    return [Variant(f"shards of {n}", {"shard_size": n}) for n in _numbers("shard_size", values or usual)]


#: gcr's table of solvers with its best rates, and Adam, which it had not.
_SOLVERS: dict[str, dict[str, Value]] = {
    "nesterov": {"optimizer": "sgd", "momentum": 0.9, "nesterov": True},
    "momentum": {"optimizer": "sgd", "momentum": 0.9, "nesterov": False},
    "sgd": {"optimizer": "sgd", "momentum": 0.0, "nesterov": False},
    "adam": {"optimizer": "adam", "lr": 0.001},
    "rmsprop": {"optimizer": "rmsprop", "lr": 0.01},
    "adagrad": {"optimizer": "adagrad", "lr": 0.1},
    "adadelta": {"optimizer": "adadelta", "lr": 1.0, "rho": 0.3},
}


def _solver(_: Config, values: Sequence[str]) -> list[Variant]:
    """The update rule."""
    unknown = [name for name in values if name not in _SOLVERS]
    if unknown:
        raise UsageError(f"there is no solver {unknown[0]!r}: there are {', '.join(_SOLVERS)}")
    plain: dict[str, Value] = {"momentum": 0.0, "nesterov": False}  # belong to sgd alone
    return [Variant(name, plain | changes) for name, changes in _SOLVERS.items() if name in (values or _SOLVERS)]


def _bn_momentum(_: Config, values: Sequence[str]) -> list[Variant]:
    """How fast BatchNorm's running statistics follow; gcr's four, with 0 for the mean over the epoch."""
    try:
        shares = [float(value) for value in values or ("1", "0.1", "0.01", "0")]
    except ValueError as error:
        raise UsageError(f"--values {','.join(values)}: momentum is a number from 0 to 1") from error
    return [
        Variant(f"momentum {share:g}" if share else "mean of the epoch", {"bn_momentum": share}) for share in shares
    ]


def _choices(name: str) -> Callable[[Config, Sequence[str]], list[Variant]]:
    def variants(_: Config, values: Sequence[str]) -> list[Variant]:
        rule = RULES[name]
        assert isinstance(rule, Choice), name
        unknown = [value for value in values if value not in rule.words]
        if unknown:
            raise UsageError(f"there is no {name} {unknown[0]!r}: there are {', '.join(rule.words)}")
        return [Variant(f"{name} {word}", {name: word}) for word in rule.words if word in (values or rule.words)]

    return variants


EXPERIMENTS: dict[str, Callable[[Config, Sequence[str]], list[Variant]]] = {
    "depth": _depth,
    "residual": _residual,
    "augmentation": _augmentation,
    "pad": _pad,
    "filters": _filters,
    "shards": _shards,
    "solver": _solver,
    "bn-momentum": _bn_momentum,
    "block": _choices("block"),
    "shortcut": _choices("shortcut"),
}


def variants(name: str, base: Config, values: Sequence[str]) -> list[Variant]:
    """The rows of an experiment. `values`: what is to be varied over, instead of the usual. Raises UsageError."""
    found = EXPERIMENTS[name](base, values)
    if len({variant.slug for variant in found}) < len(found):
        raise UsageError(f"--values {','.join(values)}: a value is given twice")
    return found


def _numbers(what: str, values: Sequence[str]) -> list[int]:
    if wrong := [value for value in values if not value.isdecimal() or int(value) < 1]:
        raise UsageError(f"--values {wrong[0]}: {what} is a whole number from 1 on")
    return [int(value) for value in values]


def _whole(what: str, values: Sequence[str]) -> list[int]:
    if wrong := [value for value in values if not value.isdecimal()]:
        raise UsageError(f"--values {wrong[0]}: {what} is a whole number from 0 on")
    return [int(value) for value in values]


def _takes_no_values(name: str, values: Sequence[str]) -> None:
    if values:
        raise UsageError(f"experiment {name} is about on and off: it takes no --values")
