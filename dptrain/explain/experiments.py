"""Experiments: their variants, and the table and the figure of their results, beside published ones on CIFAR-10.

Published: He et al. 2015 (table 6), gcr's networks in Torch (github.com/gcr/torch-residual-networks), and PyFunt.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import sqrt
from typing import TYPE_CHECKING

import numpy as np

from dptrain.errors import UsageError
from dptrain.explain.drawing import COLOURS, figure, from_zero, looks, whole_epochs
from dptrain.explain.table import Table
from dptrain.recipes.families import FAMILIES
from dptrain.rules import Choice, Value
from dptrain.settings import SETTINGS, Config

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: PyFunt's ResNet-20, recipe cifar10: one run; its best epoch was chosen on the test set.
_PYFUNT = {"20": 9.59}


@dataclass(frozen=True, slots=True)
class Variant:
    """One row of an experiment's table."""

    label: str
    changes: dict[str, Value] = field(default_factory=dict)  #: settings by name

    @property
    def slug(self) -> str:
        """The label as a part of a directory name."""
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
    """Without augmentation, and with that of the configuration (or crops and flips)."""
    _takes_no_values("augmentation", values)
    return [Variant("off", {"augment": ()}), Variant("on", {"augment": base.data.augment or ("crop:4", "flip")})]


def _pad(base: Config, values: Sequence[str]) -> list[Variant]:
    """Crops with this much padding; other operations stay."""
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
    """Shard sizes: the images that share their BatchNorm statistics."""
    batch = base.training.batch_size
    usual = [str(size) for size in (8, 16, 32, 64, 128, 256) if size <= batch and batch % size == 0]
    return [Variant(f"shards of {n}", {"shard_size": n}) for n in _numbers("shard_size", values or usual)]


#: gcr's table of solvers with their best learning rates, and Adam, which gcr did not try.
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
    plain: dict[str, Value] = {"momentum": 0.0, "nesterov": False}  # used by sgd only
    return [Variant(name, plain | changes) for name, changes in _SOLVERS.items() if name in (values or _SOLVERS)]


def _bn_momentum(_: Config, values: Sequence[str]) -> list[Variant]:
    """The momentum of BatchNorm's running statistics; gcr's four values, where 0 is the mean over the epoch."""
    try:
        shares = [float(value) for value in values or ("1", "0.1", "0.01", "0")]
    except ValueError as error:
        raise UsageError(f"--values {','.join(values)}: momentum is a number from 0 to 1") from error
    return [
        Variant(f"momentum {share:g}" if share else "mean of the epoch", {"bn_momentum": share}) for share in shares
    ]


def _choices(name: str) -> Callable[[Config, Sequence[str]], list[Variant]]:
    def variants(_: Config, values: Sequence[str]) -> list[Variant]:
        rule = SETTINGS[name].rule
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
    """The variants of an experiment. `values`: used instead of the default ones. Raises UsageError."""
    found = EXPERIMENTS[name](base, values)
    if len({variant.slug for variant in found}) < len(found):
        raise UsageError(f"--values {','.join(values)}: a value is given twice")
    return found


def _numbers(what: str, values: Sequence[str]) -> list[int]:
    if wrong := [value for value in values if not value.isdecimal() or int(value) < 1]:
        raise UsageError(f"--values {wrong[0]}: {what} must be a whole number, 1 or more")
    return [int(value) for value in values]


def _whole(what: str, values: Sequence[str]) -> list[int]:
    if wrong := [value for value in values if not value.isdecimal()]:
        raise UsageError(f"--values {wrong[0]}: {what} must be a whole number, 0 or more")
    return [int(value) for value in values]


def _takes_no_values(name: str, values: Sequence[str]) -> None:
    if values:
        raise UsageError(f"experiment {name} compares on and off: it takes no --values")


@dataclass(frozen=True, slots=True)
class Result:
    """The result of one finished run."""

    seed: int
    test: float  #: error, 0 ... 1
    train: float  #: error of the last epoch
    curve: Sequence[tuple[int, float]]  #: (epoch, validation error; without a validation split, training error)
    seconds: float  #: per epoch; the median


@dataclass(frozen=True, slots=True)
class Outcome:
    """The results of one variant."""

    label: str
    parameters: int  #: of the network; 0: unknown
    results: Sequence[Result]
    failed: Sequence[int] = ()  #: seeds whose training diverged
    published: str = ""  #: published results, as text


def mean_and_spread(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation (n - 1), which is 0 for one value."""
    mean = sum(values) / len(values)
    spread = sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1)) if len(values) > 1 else 0.0
    return mean, spread


def outcome_table(outcomes: Sequence[Outcome]) -> Table:
    """Errors in percent, mean ± standard deviation over seeds."""
    heads = ["variant", "parameters", "runs", "test error %", "train error %", "s/epoch"]
    published = any(outcome.published for outcome in outcomes)
    rows = []
    for o in outcomes:
        runs = f"{len(o.results)}{f' (+{len(o.failed)} diverged)' if o.failed else ''}"
        test = _percent([r.test for r in o.results])
        train = _percent([r.train for r in o.results])
        seconds = f"{np.median([r.seconds for r in o.results]):.1f}" if o.results else ""
        row = [o.label, f"{o.parameters:,}" if o.parameters else "", runs, test, train, seconds]
        rows.append(row + ([o.published] if published else []))
    return Table(heads + (["published %"] if published else []), rows)


def _percent(errors: Sequence[float]) -> str:
    if not errors:
        return ""
    mean, spread = mean_and_spread([100 * e for e in errors])
    return f"{mean:.2f} ± {spread:.2f}" if len(errors) > 1 else f"{mean:.2f}"


def draw_outcome(outcomes: Sequence[Outcome], title: str, what: str) -> Figure:
    """Left: error by epoch, mean and range over seeds. Right: test error, one dot per seed, a line at the mean."""
    with looks():
        drawn = figure(9.5, max(3.6, 1.4 + 0.42 * len(outcomes)))
        drawn.suptitle(title)
        left, right = drawn.subplots(1, 2)
        for at, outcome in enumerate(outcomes):
            colour = COLOURS[at % len(COLOURS)]
            style = ("-", "--", ":")[at // len(COLOURS) % 3]
            _curve(left, outcome, colour, style)
            errors = [100 * r.test for r in outcome.results]
            right.plot(errors, [at] * len(errors), "o", color=colour, markersize=5, alpha=0.6)
            if errors:
                right.plot([mean_and_spread(errors)[0]] * 2, [at - 0.3, at + 0.3], color=colour, linewidth=2)
        left.set(xlabel="epoch", ylabel="error %", title=f"{what} error: mean, and range over seeds")
        from_zero(left)
        whole_epochs(left)
        if left.has_data():
            left.legend()
        right.set(xlabel="error %", title="test error: one dot per seed, line at the mean")
        right.set_yticks(range(len(outcomes)), [o.label for o in outcomes])
        right.set_ylim(len(outcomes) - 0.5, -0.5)
        return drawn


def _curve(axes: Axes, outcome: Outcome, colour: str, style: str) -> None:
    by_epoch: dict[int, list[float]] = {}
    for result in outcome.results:
        for epoch, error in result.curve:
            by_epoch.setdefault(epoch, []).append(100 * error)
    if not by_epoch:
        return
    epochs = sorted(by_epoch)
    means = [sum(by_epoch[e]) / len(by_epoch[e]) for e in epochs]
    axes.plot(epochs, means, style, color=colour, linewidth=1.6, label=outcome.label, marker="o", markersize=2.5)
    low, high = ([pick(by_epoch[e]) for e in epochs] for pick in (min, max))
    axes.fill_between(epochs, low, high, color=colour, alpha=0.15, linewidth=0)


def published(config: Config) -> str:
    """As text: "paper 8.75, gcr 8.29, PyFunt 9.59"; "" if no result is published for this network and data set."""
    data, model = config.data, config.model
    if data.dataset != "cifar10" or data.samples or not model.residual or model.filters != 16:
        return ""
    tables = {family.authors: {member.name: member.error for member in family.members} for family in FAMILIES}
    tables["PyFunt"] = _PYFUNT
    depth = str(6 * model.n + 2)
    return ", ".join(f"{who} {table[depth]:.2f}" for who, table in tables.items() if depth in table)
