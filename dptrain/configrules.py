"""What each configuration value may be: one rule a field, and the combinations that cannot be. No files, no flags."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from dptrain.errors import UsageError

if TYPE_CHECKING:
    from dptrain.config import Config, ModelConfig

Value: TypeAlias = int | float | bool | str | tuple[int, ...] | tuple[float, ...] | tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number, low <= value <= high."""

    low: int
    high: int

    @property
    def allowed(self) -> str:
        """For the error message."""
        return f"a whole number from {self.low} to {self.high}"

    def convert(self, value: object) -> int:
        """Raises ValueError where it does not fit."""
        if isinstance(value, bool) or not isinstance(value, int) or not self.low <= value <= self.high:
            raise ValueError(self.allowed)
        return value

    def parse(self, text: str) -> int:
        """From a flag or the environment."""
        if not text.isascii():  # int() takes the digits of every script
            raise ValueError(self.allowed)
        return self.convert(int(text))


@dataclass(frozen=True, slots=True)
class Real:
    """A finite number, low <= value <= high; `above`: low itself is not allowed."""

    low: float
    high: float
    above: bool = False

    @property
    def allowed(self) -> str:
        """For the error message."""
        span = f"above {self.low:g} and at most {self.high:g}" if self.above else f"from {self.low:g} to {self.high:g}"
        return f"a number {span}"

    def convert(self, value: object) -> float:
        """Raises ValueError where it does not fit (NaN never does)."""
        if isinstance(value, bool) or not isinstance(value, int | float) or not self.low <= value <= self.high:
            raise ValueError(self.allowed)
        if self.above and value == self.low:
            raise ValueError(self.allowed)
        return float(value)

    def parse(self, text: str) -> float:
        """From a flag or the environment."""
        return self.convert(float(text))


@dataclass(frozen=True, slots=True)
class Switch:
    """True or false."""

    allowed = "true or false"

    def convert(self, value: object) -> bool:
        """Raises ValueError where it is no bool."""
        if not isinstance(value, bool):
            raise ValueError(self.allowed)  # noqa: TRY004  # one kind of error for all rules
        return value

    def parse(self, text: str) -> bool:
        """From a flag or the environment."""
        words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
        return self.convert(words.get(text.lower()))


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few words. `note` is added to the error message."""

    words: tuple[str, ...]
    note: str = ""

    @property
    def allowed(self) -> str:
        """For the error message."""
        return ("one of " if len(self.words) > 1 else "") + ", ".join(self.words) + self.note

    def convert(self, value: object) -> str:
        """Raises ValueError where it is none of the words."""
        if not isinstance(value, str) or value not in self.words:
            raise ValueError(self.allowed)
        return value

    parse = convert


@dataclass(frozen=True, slots=True)
class Text:
    """A string that matches `pattern` as a whole."""

    allowed: str
    pattern: str = r"[^\x00-\x1f]*"

    def convert(self, value: object) -> str:
        """Raises ValueError where it does not match."""
        if not isinstance(value, str) or not re.fullmatch(self.pattern, value):
            raise ValueError(self.allowed)
        return value

    parse = convert


@dataclass(frozen=True, slots=True)
class Several:
    """A list, written with commas in a flag; "" is the empty one."""

    item: Whole | Real | Text
    most: int

    @property
    def allowed(self) -> str:
        """For the error message."""
        return f"at most {self.most} values, each {self.item.allowed}"

    def convert(self, value: object) -> tuple[int, ...] | tuple[float, ...] | tuple[str, ...]:
        """Raises ValueError where one of the items does not fit."""
        if not isinstance(value, list | tuple) or len(value) > self.most:
            raise ValueError(self.allowed)
        return tuple(self.item.convert(v) for v in value)  # type: ignore[return-value]  # one kind of item

    def parse(self, text: str) -> tuple[int, ...] | tuple[float, ...] | tuple[str, ...]:
        """From a flag or the environment."""
        items = [part.strip() for part in text.split(",")] if text.strip() else []
        return self.convert([self.item.parse(item) for item in items])


Rule: TypeAlias = Whole | Real | Switch | Choice | Text | Several

RULES: dict[str, Rule] = {
    # Which names there are, the catalogue says; a path may be any that TOML, JSON and a line of text can hold.
    "dataset": Text(
        "the name of a data set, or folder:PATH; no control characters, valid UTF-8",
        r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]+",
    ),
    "validation": Whole(-1, 10_000_000),
    "augment": Several(Text('an operation such as "crop:4" or "flip"', r"[a-z][a-z0-9_-]*(:-?[0-9.]+)*"), 16),
    "samples": Whole(0, 10_000_000),
    "replacement": Switch(),
    "normalise": Choice(("channel", "mean-image")),
    "n": Whole(1, 200),
    "filters": Whole(1, 1024),
    "shortcut": Choice(("A", "avgpool", "A-end", "avgpool-end", "B", "C")),
    "residual": Switch(),
    "hidden": Several(Whole(1, 65_536), 8),
    "network": Text(
        "the name of a network, or FILE:FUNCTION of a file given with networks, without its .py",
        r"[A-Za-z_][A-Za-z0-9_]{0,99}(:[A-Za-z_][A-Za-z0-9_]{0,99})?",
    ),
    "block": Choice(("paper", "no-relu", "bn-after", "bn-after-no-relu", "relu-before", "preactivation")),
    "conv_init": Choice(("kaiming", "fan-in", "torch", "xavier", "orthogonal")),
    "linear_init": Choice(("torch", "fan-in", "kaiming", "xavier", "orthogonal")),
    "gamma": Choice(("ones", "uniform", "gcr", "pyfunt", "pyfunt-wide")),
    "dropout": Real(0.0, 0.99),
    "criterion": Choice(("cross-entropy", "nll", "hinge", "bce")),
    "class_weights": Several(Real(0.0, 1e6), 65_536),
    "l2": Real(0.0, 1.0),
    "epochs": Whole(1, 100_000),
    "batch_size": Whole(1, 65_536),
    "shard_size": Whole(1, 4_096),
    "seed": Whole(0, 2**63 - 1),
    "lr": Real(0.0, 100.0, above=True),
    "momentum": Real(0.0, 0.9999),
    "nesterov": Switch(),
    "weight_decay": Real(0.0, 1.0),
    "decay": Choice(("all", "weights")),
    "schedule": Choice(("constant", "steps", "cosine", "table")),
    "milestones": Several(Whole(1, 100_000), 64),
    "factor": Real(0.0, 1.0, above=True),
    "warmup": Real(0.0, 100_000.0),
    "precision": Choice(("fp32",), " (a bf16 that runs on every x86 CPU is planned)"),
    "warmup_factor": Real(0.0, 1.0),
    "rates": Several(Real(0.0, 1e6, above=True), 100_000),
    "bn_momentum": Real(0.0, 1.0),
    "optimizer": Choice(("sgd", "adam", "rmsprop", "adagrad", "adadelta")),
    "beta1": Real(0.0, 0.9999),
    "beta2": Real(0.0, 0.999999),
    "rho": Real(0.0, 0.999999),
    "epsilon": Real(0.0, 1.0, above=True),
    "workers": Whole(0, 1024),
    "threads": Whole(0, 1024),
    "augmenters": Whole(0, 256),
    "networks": Several(Text("a Python file", r"[^\x00-\x1f,]+\.py"), 64),
    "bind": Text(
        '"ipc", ipc://@NAME or tcp://HOST:PORT (port 0: any free one)',
        r"ipc|ipc://@[A-Za-z0-9._-]{1,90}|tcp://(\[[0-9a-fA-F:]+\]|[A-Za-z0-9_.*-]+):[0-9]{1,5}",
    ),
    "isa": Choice(("auto", "avx512", "avx2", "portable")),
    "keys": Text("a path"),
    "data_dir": Text("a path"),
    "runs": Text("a path", r"[^\x00-\x1f]+"),
    "name": Text(
        'a directory name of letters, digits, "." "_" "-" (not "latest")',
        r"(?!latest$)([A-Za-z0-9_][A-Za-z0-9_.-]{0,199})?",
    ),
    "resume": Text('"", "auto" or a run directory'),
    "max_steps": Whole(0, 2**40),
    "eval_every": Whole(1, 100_000),
    "eval_first": Switch(),
    "checkpoint_every": Whole(0, 2**40),
    "keep": Whole(0, 1_000),
    "hash_every": Whole(0, 2**40),
    "audit": Real(0.0, 1.0),
    "max_wait": Real(0.0, 1e9),
    "log_format": Choice(("auto", "rich", "plain", "json", "quiet")),
    "log_interval": Real(0.0, 86_400.0, above=True),
}


def nearest(name: str, names: Iterable[str]) -> str:
    """`; did you mean X?` for the name most like it, or "" where none is."""
    found = difflib.get_close_matches(name, list(names), n=1, cutoff=0.5)
    return f"; did you mean {found[0]}?" if found else ""


def convert(name: str, value: object) -> Value:
    """A value as TOML or JSON gives it, checked. Raises UsageError with key, value and what is allowed."""
    try:
        return RULES[name].convert(value)
    except ValueError:
        raise UsageError(_refusal(name, value)) from None


def parse(name: str, text: str) -> Value:
    """A value as a flag or the environment gives it, checked. Raises UsageError as `convert` does."""
    try:
        return RULES[name].parse(text)
    except ValueError:
        raise UsageError(_refusal(name, text)) from None


def _refusal(name: str, value: object) -> str:
    shown = repr(value) if len(repr(value)) <= 80 else repr(value)[:77] + "..."
    rule = RULES[name]
    hint = nearest(value, rule.words) if isinstance(rule, Choice) and isinstance(value, str) else ""
    return f"{name} = {shown}: must be {rule.allowed}{hint}"


def check(config: Config) -> None:
    """Refuses what no run can be, although every value alone is right. Raises UsageError."""
    for impossible, message in _combinations(config):
        if impossible:
            raise UsageError(message)


def _ways_to_cut(batch: int, shard: int) -> str:
    below = batch // shard * shard
    whole = f"{below} or {below + shard}" if below else str(shard)
    divisor = max(size for size in range(1, shard + 1) if batch % size == 0)
    other = f", or a shard_size that divides {batch}: {divisor}" if divisor > 1 else ""
    return f"batch_size {whole}{other}"


#: What networks of ours that are not residual have no use for: there it stays as it is where nobody has set it.
_UNUSED = {"lenet": ("n", "shortcut", "residual", "block"), "vgg": ("shortcut", "residual", "block")}


def _unused(model: ModelConfig) -> list[tuple[bool, str]]:
    usual = type(model)()
    values = {name: (getattr(model, name), getattr(usual, name)) for name in _UNUSED.get(model.network, ())}
    return [
        (
            value != left,
            f"{name} = {json.dumps(value)} changes nothing in the network {model.network}: "
            f"leave it out, or at {json.dumps(left)}",
        )
        for name, (value, left) in values.items()
    ]


def _combinations(config: Config) -> list[tuple[bool, str]]:
    t, d = config.training, config.deployment
    return [
        *_unused(config.model),
        (
            t.batch_size % t.shard_size != 0,
            f"batch_size = {t.batch_size} is not a multiple of shard_size = {t.shard_size}, "
            f"but a batch is cut into equal shards: {_ways_to_cut(t.batch_size, t.shard_size)}",
        ),
        (
            t.nesterov and t.momentum == 0.0,
            "nesterov = true needs momentum above 0: set momentum, or nesterov = false (--no-nesterov)",
        ),
        (
            bool(t.milestones) and t.schedule != "steps",
            f'milestones = {list(t.milestones)} is used by schedule = "steps" only, but schedule is "{t.schedule}"',
        ),
        (
            t.schedule == "steps" and not t.milestones,
            'schedule = "steps" needs milestones: the epochs at which the rate is multiplied by factor',
        ),
        (
            list(t.milestones) != sorted(set(t.milestones)),
            f"milestones = {list(t.milestones)}: must rise from one to the next",
        ),
        (
            bool(t.milestones) and max(t.milestones, default=0) >= t.epochs,
            f"milestones = {list(t.milestones)}: every one must lie before the end (epochs = {t.epochs})",
        ),
        (t.warmup > t.epochs, f"warmup = {t.warmup:g} epochs is longer than the run (epochs = {t.epochs})"),
        (
            t.weight_decay > 0.0 and config.model.l2 > 0.0,
            f"weight_decay = {t.weight_decay:g} and l2 = {config.model.l2:g}: the same thing twice; one must be 0",
        ),
        (
            t.warmup_factor > 0.0 and t.warmup == 0.0,
            f"warmup_factor = {t.warmup_factor:g} is the rate during the warm-up, but warmup = 0",
        ),
        (
            bool(t.rates) and t.schedule != "table",
            f'rates is used by schedule = "table" only, but schedule is "{t.schedule}"',
        ),
        (t.schedule == "table" and not t.rates, 'schedule = "table" needs rates: factors of lr, one an epoch'),
        (
            bool(config.model.class_weights) and config.model.criterion in ("hinge", "bce"),
            f'class_weights is for criterion "cross-entropy" or "nll", but criterion is "{config.model.criterion}"',
        ),
        (
            d.threads > 0 and d.workers > 0,
            f"threads = {d.threads} is for workers = 0 (one process), but workers = {d.workers}: "
            "a worker process has one thread",
        ),
        (
            d.bind.startswith("tcp://") and int(d.bind.rpartition(":")[2]) > 65_535,
            f"bind = {d.bind!r}: the port must be from 0 to 65535",
        ),
    ]
