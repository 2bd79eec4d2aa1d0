"""Every setting, declared once: section, type, default, rule, help, and whether it decides the bits of a run.

From these declarations come the keys of a recipe, the flags and their help, the environment variables, the keywords of
`dptrain.fit`, the checks and the reference in docs/. The settings of [data], [model] and [training] are the identity of
a run: they decide its bits. Those of [deployment] say how it is run: the bits do not depend on them.

Names are unique across the sections: `batch_size` in [training] is `--batch-size` and DPTRAIN_BATCH_SIZE.
`dptrain.recipefile` reads recipes, environment variables and flags; `dptrain.identity` names a run by its settings.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from dptrain.declaration import Setting, Use, setting
from dptrain.errors import UsageError, nearest
from dptrain.rules import Choice, Real, Several, Switch, Text, Value, Whole

_NAME = r"[A-Za-z_][A-Za-z0-9_.]*"  #: of arrays of a network, or the beginning of such names
_POSITIVE = r"(?=[0.]*[1-9])[0-9]*\.?[0-9]+(e-?[0-9]{1,2})?"  #: a number
_NAMES = Several(Text("the name of a layer or an array, such as layer1 or linear.bias", _NAME), 1_000)
#: Networks whose number of layers is fixed.
_FIXED = ("lenet", "resnet18", "resnet34", "resnet9", "vgg11", "vgg16")
_RESIDUAL = Use("network", (*_FIXED, "vgg", "wide"), exclude=True)


def _optimizer(*names: str) -> Use:
    return Use("optimizer", names, strict=False)


@dataclass(frozen=True, slots=True)
class DataConfig:
    """[data]: which images, and how they are prepared."""

    # The catalog knows the names; a path may be anything that TOML, JSON and one line of text can hold.
    dataset: str = setting(
        "fashion-mini",
        Text(
            "the name of a data set, folder:PATH or npz:FILE; no control characters, valid UTF-8",
            r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]+",
        ),
        "a name from `dptrain data list`, folder:PATH or npz:FILE",
    )
    validation: int = setting(
        -1, Whole(-1, 10_000_000), "training images held out for validation; -1: one tenth; 0: none"
    )
    augment: tuple[str, ...] = setting(
        (),
        Several(Text('an operation such as "crop:4" or "flip"', r"[a-z][a-z0-9_-]*(:-?[0-9.]+)*"), 16),
        "operations in order, separated by commas, such as crop:4,flip",
    )
    samples: int = setting(0, Whole(0, 10_000_000), "train on only this many images; 0: all", later=True)
    replacement: bool = setting(
        default=False, rule=Switch(), about="draw the images of an epoch with replacement", later=True
    )
    normalise: str = setting(
        "channel",
        Choice(("channel", "mean-image")),
        "what is subtracted from pixels: the mean of each channel, or the mean image",
        later=True,
    )
    mean: tuple[float, ...] = setting(
        (),
        Several(Real(0.0, 1.0), 64),
        "mean of each channel of pixels / 255, such as 0.485,0.456,0.406; empty: measured",
        later=True,
        use=Use("normalise", ("channel",)),
    )
    std: tuple[float, ...] = setting(
        (),
        Several(Real(0.0, 1.0, above=True), 64),
        "standard deviation of each channel of pixels / 255; given together with mean",
        later=True,
        use=Use("normalise", ("channel",)),
    )


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """[model]: the network and its loss."""

    n: int = setting(
        1,
        Whole(1, 200),
        "blocks per stage: a resnet has 6n+2 layers, wide 6n+4; for vgg, convolutions per stage",
        use=Use("network", _FIXED, exclude=True),
    )
    filters: int = setting(
        16, Whole(1, 1024), "channels of the first stage; each later stage has twice as many", short="--width"
    )
    shortcut: str = setting(
        "A",
        Choice(("A", "avgpool", "A-end", "avgpool-end", "B", "C")),
        "across stages: every second pixel (A), 2x2 average, 1x1 convolution (B; C: in every block)",
        use=_RESIDUAL,
    )
    residual: bool = setting(
        default=True, rule=Switch(), about="off: the plain network of the same size, without shortcuts", use=_RESIDUAL
    )
    hidden: tuple[int, ...] = setting(
        (), Several(Whole(1, 65_536), 8), "widths of linear-BatchNorm-ReLU layers before the last layer"
    )
    network: str = setting(
        "resnet",
        Text(
            "the name of a network, or FILE:FUNCTION of a file given with networks, without its .py",
            r"[A-Za-z_][A-Za-z0-9_]{0,99}(:[A-Za-z_][A-Za-z0-9_]{0,99})?",
        ),
        "a name such as resnet, resnet18 or lenet, or FILE:FUNCTION of a file in --networks",
        later=True,
    )
    block: str = setting(
        "paper",
        Choice(("paper", "no-relu", "bn-after", "bn-after-no-relu", "relu-before", "preactivation")),
        "order of ReLU and BatchNorm in a residual block",
        later=True,
        use=_RESIDUAL,
    )
    conv_init: str = setting(
        "kaiming",
        Choice(("kaiming", "fan-in", "torch", "xavier", "orthogonal")),
        "initial weights of convolutions",
        later=True,
    )
    linear_init: str = setting(
        "torch",
        Choice(("torch", "fan-in", "kaiming", "xavier", "orthogonal")),
        "initial weights and biases of linear layers",
        later=True,
    )
    gamma: str = setting(
        "ones", Choice(("ones", "uniform", "gcr", "pyfunt", "pyfunt-wide")), "initial scales of BatchNorm", later=True
    )
    dropout: float = setting(
        0.0, Real(0.0, 0.99), "probability that training zeroes an input of the last linear layer", later=True
    )
    criterion: str = setting(
        "cross-entropy", Choice(("cross-entropy", "nll", "hinge", "bce")), "loss function", later=True
    )
    class_weights: tuple[float, ...] = setting(
        (),
        Several(Real(0.0, 1e6), 65_536),
        "weight of each class in the loss, separated by commas; empty: 1 each",
        later=True,
        use=Use("criterion", ("cross-entropy", "nll")),
    )
    label_smoothing: float = setting(
        0.0,
        Real(0.0, 1.0),
        "share of a label that is spread evenly over all classes; 0: none",
        later=True,
        use=Use("criterion", ("cross-entropy",)),
    )
    l2: float = setting(0.0, Real(0.0, 1.0), "adds l2 / 2 times the sum of the squared weights to the loss", later=True)
    convolution: str = setting(
        "f4",
        Choice(("f4", "f2")),
        "arithmetic of 3x3 convolutions: Winograd's F(4x4, 3x3) where it is faster, or F(2x2, 3x3)",
        later=True,
        before="f2",
    )

    @property
    def tile(self) -> int:
        """Outputs per side of the largest Winograd tile: 2 or 4."""
        return int(self.convolution[1:])


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """[training]: steps, learning rate and update rule."""

    epochs: int = setting(6, Whole(1, 100_000), "passes over the training images")
    batch_size: int = setting(128, Whole(1, 65_536), "images per step, over all workers", short="-b")
    shard_size: int = setting(32, Whole(1, 4_096), "images per shard, the unit of work and of BatchNorm statistics")
    seed: int = setting(0, Whole(0, 2**63 - 1), "random seed of the weights, the order and the augmentation")
    lr: float = setting(0.1, Real(0.0, 100.0, above=True), "learning rate")
    momentum: float = setting(0.9, Real(0.0, 0.9999), "momentum of sgd and sgdw", use=_optimizer("sgd", "sgdw"))
    nesterov: bool = setting(
        default=True,
        rule=Switch(),
        about="Nesterov's form of the momentum of sgd and sgdw",
        use=_optimizer("sgd", "sgdw"),
    )
    weight_decay: float = setting(
        5e-4, Real(0.0, 1.0), "adds this times the weights to the gradient; sgdw, adamw: see optimizer", short="--wd"
    )
    decay: str = setting("all", Choice(("all", "weights")), "weight decay is for all parameters, or for weights only")
    schedule: str = setting(
        "cosine",
        Choice(("constant", "steps", "cosine", "table", "linear", "polynomial", "restarts", "triangular")),
        "learning rate after the warm-up; restarts: repeated cosines; triangular: rises, then falls",
    )
    milestones: tuple[int, ...] = setting(
        (),
        Several(Whole(1, 100_000), 64),
        "schedule steps: epochs at which the learning rate is multiplied by factor",
        use=Use("schedule", ("steps",)),
    )
    factor: float = setting(
        0.1,
        Real(0.0, 1.0, above=True),
        "schedule steps: multiplies the learning rate at each milestone",
        use=Use("schedule", ("steps",), strict=False),
    )
    warmup: float = setting(
        1.0,
        Real(0.0, 100_000.0),
        "epochs of warm-up; schedule triangular has none: it rises by itself",
        use=Use("schedule", ("triangular",), exclude=True),
    )
    precision: str = setting(
        "fp32",
        Choice(("fp32",), " (a bf16 that runs on every x86 CPU is planned)"),
        "number format of activations and gradients",
    )
    warmup_factor: float = setting(
        0.0,
        Real(0.0, 1.0),
        "during the warm-up the learning rate is this times lr; 0: it rises linearly",
        later=True,
        use=Use("warmup", (0.0,), exclude=True),
    )
    rates: tuple[float, ...] = setting(
        (),
        Several(Real(0.0, 1e6, above=True), 100_000),
        "schedule table: factors of lr, one per epoch, separated by commas; the last one stays",
        later=True,
        use=Use("schedule", ("table",)),
    )
    final: float = setting(
        0.0,
        Real(0.0, 1.0),
        "schedules that fall at every step: they fall to this times lr",
        later=True,
        use=Use("schedule", ("constant", "steps", "table"), exclude=True),
    )
    exponent: int = setting(
        2,
        Whole(1, 100),
        "schedule polynomial: the power to which the remaining share of the run is raised",
        later=True,
        use=Use("schedule", ("polynomial",)),
    )
    period: int = setting(
        10,
        Whole(1, 100_000),
        "schedule restarts: epochs of the first cosine",
        later=True,
        use=Use("schedule", ("restarts",)),
    )
    stretch: int = setting(
        1,
        Whole(1, 100),
        "schedule restarts: each cosine is this times as long as the one before",
        later=True,
        use=Use("schedule", ("restarts",)),
    )
    initial: float = setting(
        0.04,
        Real(0.0, 1.0),
        "schedule triangular: the first step has this times lr",
        later=True,
        use=Use("schedule", ("triangular",)),
    )
    rise: float = setting(
        0.3,
        Real(0.0, 1.0),
        "schedule triangular: share of the steps in which the learning rate rises",
        later=True,
        use=Use("schedule", ("triangular",)),
    )
    bn_momentum: float = setting(
        0.1,
        Real(0.0, 1.0),
        "weight of a batch in BatchNorm's running statistics; 0: their mean over the epoch",
        later=True,
    )
    optimizer: str = setting(
        "sgd",
        Choice(("sgd", "adam", "rmsprop", "adagrad", "adadelta", "sgdw", "adamw")),
        "update rule; sgdw, adamw: as sgd, adam, but decay multiplies weights by 1 - lr * weight_decay",
        later=True,
    )
    beta1: float = setting(
        0.9,
        Real(0.0, 0.9999),
        "adam, adamw: decay of the running mean of gradients",
        later=True,
        use=_optimizer("adam", "adamw"),
    )
    beta2: float = setting(
        0.999,
        Real(0.0, 0.999999),
        "adam, adamw: decay of the running mean of squared gradients",
        later=True,
        use=_optimizer("adam", "adamw"),
    )
    rho: float = setting(
        0.9,
        Real(0.0, 0.999999),
        "rmsprop, adadelta: decay of the running mean of squared gradients",
        later=True,
        use=_optimizer("rmsprop", "adadelta"),
    )
    epsilon: float = setting(
        1e-8,
        Real(0.0, 1.0, above=True),
        "all update rules but sgd and sgdw: added to the divisor",
        later=True,
        use=_optimizer("adam", "adamw", "rmsprop", "adagrad", "adadelta"),
    )

    clip_norm: float = setting(
        0.0,
        Real(0.0, 1e6),
        "a gradient whose norm over all arrays is above this is scaled down to it; 0: it never is",
        later=True,
    )
    patience: int = setting(
        0,
        Whole(0, 100_000),
        "stop after so many epochs without a better validation accuracy; 0: train all epochs",
        later=True,
    )
    start_sha256: str = setting(
        "",
        Text("64 hex digits", r"([0-9a-f]{64})?"),
        "SHA-256 of the weights of start; filled in, and checked if it is given",
        later=True,
    )
    anew: tuple[str, ...] = setting(
        (),
        _NAMES,
        "arrays that start does not give, by name or layer: they are drawn from the seed",
        later=True,
        use=Use("start", ("",), exclude=True, strict=False),
    )
    freeze: tuple[str, ...] = setting(
        (), _NAMES, "arrays that training does not change, by name or layer, such as conv1,bn1,layer1", later=True
    )
    lr_scale: tuple[str, ...] = setting(
        (),
        Several(Text("LAYER:FACTOR, with a factor above 0", f"{_NAME}:{_POSITIVE}"), 1_000),
        "factors of the learning rate by name or layer, such as linear:10,layer3:0.5",
        later=True,
    )

    @property
    def shards_per_step(self) -> int:
        """Of a full step; the last step of an epoch may have fewer."""
        return self.batch_size // self.shard_size


@dataclass(frozen=True, slots=True)
class DeploymentConfig:
    """[deployment]: how a run is carried out. Never part of the identity."""

    workers: int = setting(2, Whole(0, 1024), "worker processes; 0: train in this process")
    threads: int = setting(0, Whole(0, 1024), "with 0 workers: threads; 0: one per core", use=Use("workers", (0,)))
    augmenters: int = setting(0, Whole(0, 256), "processes that prepare images ahead; each needs a core of its own")
    networks: tuple[str, ...] = setting(
        (),
        Several(Text("a Python file", r"[^\x00-\x1f,]+\.py"), 64),
        "Python files whose networks may run on this host, separated by commas",
    )
    bind: str = setting(
        "ipc",
        Text(
            '"ipc", ipc://@NAME or tcp://HOST:PORT (port 0: any free one)',
            r"ipc|ipc://@[A-Za-z0-9._-]{1,90}|tcp://(\[[0-9a-fA-F:]+\]|[A-Za-z0-9_.*-]+):[0-9]{1,5}",
        ),
        "address the coordinator listens on: ipc, or tcp://HOST:PORT",
    )
    keys: str = setting("", Text("a path"), "directory of this process's keys: KEYS/NAME of `dptrain keys`")
    isa: str = setting(
        "auto",
        Choice(("auto", "avx512", "avx2", "portable")),
        "CPU instructions the kernels may use; the bits are the same",
    )
    data_dir: str = setting("", Text("a path"), "directory of the data sets; default $DPTRAIN_DATA")
    runs: str = setting("runs", Text("a path", r"[^\x00-\x1f]+"), "directory in which run directories are made")
    name: str = setting(
        "",
        Text(
            'a directory name of letters, digits, "." "_" "-" (not "latest")',
            r"(?!latest$)([A-Za-z0-9_][A-Za-z0-9_.-]{0,199})?",
        ),
        "name of the run directory; default: date, time and data set",
    )
    resume: str = setting(
        "", Text('"", "auto" or a run directory'), "a run directory; or auto: the run --name, else the latest run"
    )
    start: str = setting(
        "", Text("a path"), "weights to start from: a run directory, or FILE.safetensors, .pt, .pth, .th"
    )
    classes: int = setting(
        0, Whole(0, 65_536), "a check: the number of classes that the data set must have; 0: any number"
    )
    max_steps: int = setting(0, Whole(0, 2**40), "stop with a checkpoint after this step; 0: no limit")
    eval_every: int = setting(1, Whole(1, 100_000), "epochs between validations")
    eval_first: bool = setting(default=False, rule=Switch(), about="also validate before the first step")
    checkpoint_every: int = setting(0, Whole(0, 2**40), "steps between checkpoints; 0: one per epoch")
    keep: int = setting(2, Whole(0, 1_000), "numbered checkpoints kept besides last and best")
    hash_every: int = setting(0, Whole(0, 2**40), "steps between state hashes; 0: only with checkpoints")
    audit: float = setting(0.0, Real(0.0, 1.0), "share of the shards that two workers compute, to compare the results")
    max_wait: float = setting(0.0, Real(0.0, 1e9), "seconds without a worker after which the run stops; 0: never")
    log_format: str = setting(
        "auto",
        Choice(("auto", "rich", "plain", "json", "quiet")),
        "auto: live display on a terminal, else plain lines; quiet: errors only",
    )
    log_interval: float = setting(10.0, Real(0.0, 86_400.0, above=True), "seconds between plain progress lines")

    @property
    def computing_threads(self) -> int:
        """Threads that compute when `workers` is 0."""
        return self.threads or len(os.sched_getaffinity(0))


@dataclass(frozen=True, slots=True)
class Config:
    """All settings of a run."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    deployment: DeploymentConfig = field(default_factory=DeploymentConfig)


SECTIONS: dict[str, type[DataConfig | ModelConfig | TrainingConfig | DeploymentConfig]] = {
    "data": DataConfig,
    "model": ModelConfig,
    "training": TrainingConfig,
    "deployment": DeploymentConfig,
}

#: Every setting by its name.
SETTINGS: dict[str, Setting] = {
    f.name: Setting(f.name, section, getattr(kind(), f.name), **f.metadata)
    for section, kind in SECTIONS.items()
    for f in fields(kind)
}


def values(config: Config) -> dict[str, Value]:
    """Every value by the name of its setting."""
    return {name: getattr(getattr(config, each.section), name) for name, each in SETTINGS.items()}


def build(given: Mapping[str, Value], base: Config | None = None) -> Config:
    """`base` (default: the defaults) with the given values, by name, replaced. They are not checked here."""
    merged = values(base or Config()) | dict(given)
    by_section: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    for name, value in merged.items():
        by_section[SETTINGS[name].section][name] = value
    return Config(**{section: SECTIONS[section](**by_section[section]) for section in SECTIONS})  # type: ignore[arg-type]  # keyed by SECTIONS


def stored(given: Mapping[str, Value]) -> Config:
    """A configuration from a file of a run; settings that came after that run have the value from before they came."""
    return build({name: each.before for name, each in SETTINGS.items()} | dict(given))


def from_sections(sections: Mapping[str, object], only: tuple[str, ...] = tuple(SECTIONS)) -> dict[str, Value]:
    """{"data": {"dataset": ...}, ...} as TOML or JSON gives it -> checked values by name.

    Raises UsageError for an unknown section or key (with the nearest name), or a value that is not allowed.
    """
    found: dict[str, Value] = {}
    for section, table in sections.items():
        if section not in only:
            home = f"; it belongs in [{SETTINGS[section].section}]" if section in SETTINGS else nearest(section, only)
            raise UsageError(f"unknown section or key {section!r}: sections are {', '.join(only)}{home}")
        if not isinstance(table, dict):
            raise UsageError(f"{section} = {table!r}: must be a section, [{section}]")
        for key, value in table.items():
            if key not in SETTINGS or SETTINGS[key].section != section:
                raise UsageError(f"unknown key {key!r} in [{section}]{_where_instead(key, section)}")
            found[key] = SETTINGS[key].convert(value)
    return found


def _where_instead(key: str, section: str) -> str:
    if key in SETTINGS:
        return f"; it belongs in [{SETTINGS[key].section}]"
    return nearest(key, (name for name, s in SETTINGS.items() if s.section == section)) or nearest(key, SETTINGS)


# --- what values must not be together


def check(config: Config) -> None:
    """Refuses values that are allowed alone but not together. Raises UsageError."""
    for name, use in unused(config):
        if use.strict:
            raise UsageError(not_used(name, values(config)))
    for impossible, message in _combinations(config):
        if impossible:
            raise UsageError(message)


def unused(config: Config) -> Iterator[tuple[str, Use]]:
    """Settings that have another value than their default although the configuration does not use them."""
    given = values(config)
    for name, each in SETTINGS.items():
        if each.use and given[name] != each.default and not each.use.by(given[each.use.other]):
            yield name, each.use


def not_used(name: str, given: Mapping[str, Value]) -> str:
    """The refusal of a setting that the given values, by name, do not use."""
    use = SETTINGS[name].use
    assert use is not None
    now = f"{use.other} = {json.dumps(given[use.other])}"
    only = " or ".join(json.dumps(value) for value in use.values)
    why = f"not used with {now}" if use.exclude else f"used only with {use.other} = {only}, but {now}"
    return f"{name} = {json.dumps(given[name])} is {why}: leave it out"


def uneven(batch_size: int, shard_size: int) -> str:
    """Why a batch cannot be cut into such shards, and the nearest sizes that can be; "": it can."""
    if batch_size % shard_size == 0:
        return ""
    below = batch_size // shard_size * shard_size
    whole = f"{below} or {below + shard_size}" if below else str(shard_size)
    divisor = max(size for size in range(1, shard_size + 1) if batch_size % size == 0)
    other = f", or a shard_size that divides {batch_size}: {divisor}" if divisor > 1 else ""
    return (
        f"batch_size = {batch_size} is not a multiple of shard_size = {shard_size}, "
        f"but a batch is cut into equal shards: batch_size {whole}{other}"
    )


def _combinations(config: Config) -> list[tuple[bool, str]]:
    t, d, data = config.training, config.deployment, config.data
    return [
        (bool(uneven(t.batch_size, t.shard_size)), uneven(t.batch_size, t.shard_size)),
        (
            t.nesterov and t.momentum == 0.0,
            "nesterov = true needs momentum above 0: set momentum, or nesterov = false (--no-nesterov)",
        ),
        (
            t.schedule == "steps" and not t.milestones,
            'schedule = "steps" needs milestones: the epochs at which the learning rate is multiplied by factor',
        ),
        (
            list(t.milestones) != sorted(set(t.milestones)),
            f"milestones = {list(t.milestones)}: each must be larger than the one before",
        ),
        (
            max(t.milestones, default=0) >= t.epochs,
            f"milestones = {list(t.milestones)}: each must lie before the end (epochs = {t.epochs})",
        ),
        (
            t.schedule == "triangular" and t.warmup_factor > 0.0,
            f'warmup_factor = {t.warmup_factor:g} is not used with schedule = "triangular": leave it out',
        ),
        (t.warmup > t.epochs, f"warmup = {t.warmup:g} epochs is longer than the run (epochs = {t.epochs})"),
        (
            t.weight_decay > 0.0 and config.model.l2 > 0.0,
            f"weight_decay = {t.weight_decay:g} and l2 = {config.model.l2:g} do the same thing: set one of them to 0",
        ),
        (
            config.model.label_smoothing > 0.0 and config.model.class_weights != (),
            f"label_smoothing = {config.model.label_smoothing:g} is not defined with class_weights: leave one out",
        ),
        (t.schedule == "table" and not t.rates, 'schedule = "table" needs rates: factors of lr, one per epoch'),
        (
            len(data.mean) != len(data.std),
            f"mean = {list(data.mean)} and std = {list(data.std)}: give both, with one value per channel",
        ),
        (
            t.patience > 0 and data.validation == 0,
            f"patience = {t.patience} needs a validation split, but validation = 0",
        ),
        (
            t.patience > 0 and d.eval_every != 1,
            f"patience = {t.patience} counts epochs, and each must be validated: leave out eval_every = {d.eval_every}",
        ),
        (
            d.bind.startswith("tcp://") and int(d.bind.rpartition(":")[2]) > 65_535,
            f"bind = {d.bind!r}: the port must be from 0 to 65535",
        ),
    ]
