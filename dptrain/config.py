"""One frozen dataclass tree: what a run is (identity) and how it is run (deployment).

Field names are unique across the sections: a TOML recipe has the sections, a flag has the bare name
(`batch_size` in [training] is `--batch-size`). Made in `cli/` and `api/`; each layer below takes its section.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, TypeVar

from dptrain.configrules import Value, check, convert, nearest
from dptrain.errors import UsageError

_T = TypeVar("_T")


def later(default: _T) -> _T:
    """A field of the identity that came after the first runs: left out of its JSON while it has its default.

    So a new setting changes the name of no run that does not use it.
    """
    made: _T = field(default=default, metadata={"later": True})
    return made


@dataclass(frozen=True, slots=True)
class DataConfig:
    """[data]: which samples, in which form. Identity."""

    dataset: str = "fashion-mini"  #: a name of dptrain.data.catalog
    validation: int = -1  #: samples split off the training set; -1: a tenth; 0: none (the last weights are tested)
    augment: tuple[str, ...] = ()  #: in order, e.g. ("crop:4", "flip")
    samples: int = later(0)  #: train on so many only, of what validation leaves; 0: on all
    replacement: bool = later(
        default=False
    )  #: draw every sample of an epoch anew (the seeds' way), instead of each one once
    normalise: str = later("channel")  #: what pixels lose: a mean a "channel", or a "mean-image" (PyDatSet's)


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """[model]: the network. Identity."""

    n: int = 1  #: blocks a stage; 6n+2 weighted layers
    filters: int = 16  #: of the first stage; doubled twice
    shortcut: str = "A"  #: see dptrain.nn.block: "A", "avgpool", "A-end", "avgpool-end", "B", "C"
    residual: bool = True  #: False: the plain network of the same size
    hidden: tuple[int, ...] = ()  #: widths of affine-BatchNorm-ReLU layers before the last one
    network: str = later("resnet")  #: a network of dptrain.nn.networks, or "FILE:FUNCTION" of a file in `networks`
    block: str = later("paper")  #: where a residual block has its ReLU and its second BatchNorm: dptrain.nn.block
    conv_init: str = later("kaiming")  #: first weights of convolutions: a name of dptrain.nn.initialise
    linear_init: str = later("torch")  #: first weights and shifts of affine layers
    gamma: str = later("ones")  #: first scales of BatchNorm
    dropout: float = later(0.0)  #: chance with which an input of the last affine layer is zeroed in training
    criterion: str = later("cross-entropy")  #: what is minimised: a name of dptrain.nn.criterion
    class_weights: tuple[float, ...] = later(())  #: what a sample's loss counts, by class; (): one each
    l2: float = later(0.0)  #: the loss has l2 / 2 times the sum of the squared weights; not together with weight_decay


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """[training]: everything else that decides the bits. Identity."""

    epochs: int = 6
    batch_size: int = 128  #: samples of one step, global
    shard_size: int = 32  #: samples of one shard; BatchNorm statistics are per shard
    seed: int = 0
    lr: float = 0.1
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-4
    decay: str = "all"  #: "all" parameters, or "weights" only
    schedule: str = "cosine"  #: "constant", "steps", "cosine", "table"
    milestones: tuple[int, ...] = ()  #: epochs at which `steps` multiplies the rate by `factor`
    factor: float = 0.1
    warmup: float = 1.0  #: epochs of linear warm-up
    precision: str = "fp32"  #: number format of activations and gradients; "fp32" is the only one
    warmup_factor: float = later(0.0)  #: 0: the rate rises during the warm-up; else it is this times lr until its end
    rates: tuple[float, ...] = later(())  #: schedule "table": factors of lr, one an epoch; the last one stays
    bn_momentum: float = later(0.1)  #: share of a batch in BatchNorm's running statistics; 0: their mean over the epoch
    optimizer: str = later("sgd")  #: the update rule: a name of dptrain.optim.optimizer
    beta1: float = later(0.9)  #: adam: of the running mean
    beta2: float = later(0.999)  #: adam: of the running mean of squares
    rho: float = later(0.9)  #: rmsprop, adadelta: of the running mean of squares
    epsilon: float = later(1e-8)  #: adam, rmsprop, adagrad, adadelta: added where something is divided by

    @property
    def shards_per_step(self) -> int:
        """Of a full step; the last one of an epoch may have fewer."""
        return self.batch_size // self.shard_size


@dataclass(frozen=True, slots=True)
class DeploymentConfig:
    """[deployment]: how it is run. Never part of the identity: the bits do not depend on it."""

    workers: int = 2  #: worker processes; 0: everything in this process
    threads: int = 0  #: with workers = 0: threads over shards; 0: one a core
    augmenters: int = 0  #: augmenter processes
    networks: tuple[str, ...] = ()  #: Python files whose networks this host is willing to run
    bind: str = "ipc"  #: "ipc", or "tcp://HOST:PORT" (port 0: any free one)
    keys: str = ""  #: directory of this process's CURVE keys, for tcp beyond this machine; "": none
    isa: str = "auto"  #: "auto", "avx512", "avx2", "portable"
    data_dir: str = ""  #: where data sets lie; "": $DPTRAIN_DATA, then ~/.local/share/dptrain
    runs: str = "runs"  #: parent of run directories
    name: str = ""  #: of the run directory; "": date, time and data set
    resume: str = ""  #: "", "auto" (newest checkpoint of the run `name`, if any), or a run directory
    max_steps: int = 0  #: stop (with a checkpoint) after this many steps in all; 0: no
    eval_every: int = 1  #: epochs between evaluations on the validation split
    eval_first: bool = False  #: score the validation split before the first step, too: epoch 0 of the curves
    checkpoint_every: int = 0  #: steps between checkpoints; 0: one an epoch
    keep: int = 2  #: numbered checkpoints kept beside last and best
    hash_every: int = 0  #: steps between state hashes in hashes.jsonl; 0: only with checkpoints
    audit: float = 0.0  #: part of all shards computed by two workers and compared bit for bit; 0.01 finds a bad machine
    max_wait: float = 0.0  #: seconds without any worker after which the run stops, with a checkpoint; 0: never
    log_format: str = "auto"  #: "auto", "rich", "plain", "json", "quiet"
    log_interval: float = 10.0  #: seconds between plain progress lines


@dataclass(frozen=True, slots=True)
class Config:
    """A whole run."""

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
IDENTITY_SECTIONS = ("data", "model", "training")
#: The section of a field, by its bare name.
SECTION_OF: dict[str, str] = {f.name: section for section, kind in SECTIONS.items() for f in fields(kind)}


def values(config: Config) -> dict[str, Value]:
    """Every field by its bare name."""
    return {name: getattr(getattr(config, section), name) for name, section in SECTION_OF.items()}


def build(given: Mapping[str, Value], base: Config | None = None) -> Config:
    """`base` (default: the defaults) with the given fields, by bare name, replaced. Values are taken as they are."""
    merged = values(base or Config()) | dict(given)
    by_section: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    for name, value in merged.items():
        by_section[SECTION_OF[name]][name] = value
    return Config(**{section: SECTIONS[section](**by_section[section]) for section in SECTIONS})  # type: ignore[arg-type]  # keyed by SECTIONS


def from_sections(sections: Mapping[str, object], only: tuple[str, ...] = tuple(SECTIONS)) -> dict[str, Value]:
    """{"data": {"dataset": ...}, ...} as TOML or JSON gives it -> checked values by bare name.

    Raises UsageError for an unknown section or key (with the nearest one), or a value that is not allowed.
    """
    found: dict[str, Value] = {}
    for section, table in sections.items():
        if section not in only:
            home = f"; it belongs into [{SECTION_OF[section]}]" if section in SECTION_OF else nearest(section, only)
            raise UsageError(f"unknown section or key {section!r}: sections are {', '.join(only)}{home}")
        if not isinstance(table, dict):
            raise UsageError(f"{section} = {table!r}: must be a section, [{section}]")
        for key, value in table.items():
            if SECTION_OF.get(key) != section:
                raise UsageError(f"unknown key {key!r} in [{section}]{_where_instead(key, section)}")
            found[key] = convert(key, value)
    return found


def _where_instead(key: str, section: str) -> str:
    if key in SECTION_OF:
        return f"; it belongs into [{SECTION_OF[key]}]"
    return nearest(key, (name for name, home in SECTION_OF.items() if home == section)) or nearest(key, SECTION_OF)


def identity_json(config: Config) -> str:
    """The identity part as canonical JSON: sorted keys, no spaces. What Welcome.config carries."""
    return _canonical({section: _told(getattr(config, section)) for section in IDENTITY_SECTIONS})


def _told(part: DataConfig | ModelConfig | TrainingConfig) -> dict[str, Any]:
    """The fields of a section, but for later ones that have their default."""
    silent = {f.name for f in fields(part) if f.metadata.get("later") and getattr(part, f.name) == f.default}
    return {name: value for name, value in asdict(part).items() if name not in silent}


def from_identity_json(text: str) -> Config:
    """The config of a run from `identity_json`, with default deployment. Every key but later ones, no other, or
    UsageError.
    """
    try:
        sections = json.loads(text)
    except ValueError as error:
        raise UsageError(f"the configuration of the run is not JSON: {error}") from error
    if not isinstance(sections, dict):
        raise UsageError(f"the configuration of the run must be a JSON object, not {type(sections).__name__}")
    given = from_sections(sections, IDENTITY_SECTIONS)
    first = (f.name for section in IDENTITY_SECTIONS for f in fields(SECTIONS[section]) if "later" not in f.metadata)
    missing = [name for name in first if name not in given]
    if missing:
        raise UsageError(f"the configuration of the run lacks {', '.join(missing)}")
    config = build(given)
    check(config)
    return config


def identity(config: Config, dataset_sha256: str, layout_digest: str, numerics: str) -> str:
    """SHA-256 (hex) that names the run: what is trained on what, in which arithmetic. Deployment is not in it."""
    facts = {"config": identity_json(config), "dataset": dataset_sha256, "layout": layout_digest, "numerics": numerics}
    return hashlib.sha256(_canonical(facts).encode()).hexdigest()


def identity_differences(a: Config, b: Config) -> list[str]:
    """`name: a's value -> b's value` for every identity field in which the two differ."""
    left, right = values(a), values(b)
    names = (n for n, section in SECTION_OF.items() if section in IDENTITY_SECTIONS)
    return [f"{n}: {left[n]!r} -> {right[n]!r}" for n in names if left[n] != right[n]]


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
