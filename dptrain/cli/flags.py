"""The flags of configuration fields: spelling, help, type, as cyclopts wants them. Values stay text: config checks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter as Formal
from inspect import signature
from typing import Annotated, Any, Literal, TypeVar

from cyclopts import Group, Parameter, Token

from dptrain.config import SECTION_OF, SECTIONS, Config, values
from dptrain.configrules import RULES, Choice, Real, Switch, Whole
from dptrain.errors import UsageError

F = TypeVar("F", bound=Callable[..., int])

HELP = {
    "dataset": "a name of `dptrain data list`, or folder:PATH",
    "validation": "samples split off the training set; -1: a tenth; 0: none",
    "augment": 'operations in order, with commas: "crop:4,flip"',
    "samples": "train on so many samples only; 0: on all",
    "replacement": "draw an epoch's samples with replacement",
    "normalise": "subtracted from pixels: a mean a channel, or a mean image",
    "n": "blocks a stage: resnet has 6n+2 weighted layers; of vgg, convolutions a stage",
    "filters": "channels of the first stage; doubled twice",
    "shortcut": "across stages: every second pixel (A), 2x2 average, 1x1 convolutions (B; C: everywhere)",
    "residual": "off: the plain network of the same size",
    "hidden": "widths of affine-BatchNorm-ReLU layers before the last",
    "network": "resnet, lenet, vgg, or FILE:FUNCTION of a file in --networks (FILE without .py)",
    "block": "of a residual network: where ReLU and BatchNorm stand",
    "conv_init": "first weights of convolutions",
    "linear_init": "first weights of affine layers",
    "gamma": "first scales of BatchNorm",
    "dropout": "chance of an input of the last affine layer to be zeroed",
    "criterion": "what is minimised",
    "class_weights": "what a sample's loss counts, by class, with commas",
    "l2": "half of this times the squared weights is part of the loss",
    "epochs": "passes over the training set",
    "batch_size": "samples of one step, over all workers",
    "shard_size": "samples of one shard: unit of work and of BatchNorm statistics",
    "seed": "of weights, order and augmentation",
    "lr": "learning rate",
    "momentum": "of SGD",
    "nesterov": "Nesterov's form of momentum",
    "weight_decay": "this times the weights is added to the gradient",
    "decay": "what weight decay is for: all parameters, or weights only",
    "schedule": "of the learning rate after warm-up",
    "milestones": "epochs at which schedule steps multiplies the rate by factor",
    "factor": "see milestones",
    "warmup": "epochs of linear warm-up",
    "warmup_factor": "during the warm-up the rate is this times lr; 0: it rises",
    "rates": "with schedule table: factors of lr, one an epoch, with commas",
    "bn_momentum": "share of a batch in BatchNorm's running statistics; 0: their mean",
    "optimizer": "the update rule",
    "beta1": "of adam: running mean of gradients",
    "beta2": "of adam: running mean of their squares",
    "rho": "of rmsprop and adadelta: running mean of squares",
    "epsilon": "of the adaptive rules: keeps them from dividing by 0",
    "precision": "number format of activations and gradients",
    "workers": "worker processes; 0: everything in this process",
    "threads": "with 0 workers: threads over shards; 0: one a core",
    "augmenters": "processes that prepare samples ahead; each wants a core of its own",
    "networks": "Python files whose networks may be run here, with commas",
    "bind": "where the coordinator listens: ipc, or tcp://HOST:PORT",
    "keys": "directory of this process's keys, KEYS/NAME of `dptrain keys`",
    "isa": "CPU instructions the kernels may use; the bits are the same",
    "data_dir": "where data sets lie; default $DPTRAIN_DATA",
    "runs": "parent of run directories",
    "name": "of the run directory; default date, time, data set",
    "resume": "auto (the run --name, or the latest), or a run directory",
    "max_steps": "stop, with a checkpoint, after this step; 0: no",
    "eval_every": "epochs between validations",
    "eval_first": "validate before the first step, too",
    "checkpoint_every": "steps between checkpoints; 0: one an epoch",
    "keep": "numbered checkpoints kept beside last and best",
    "hash_every": "steps between state hashes; 0: with checkpoints only",
    "audit": "part of all shards that two workers compute, to be compared",
    "max_wait": "seconds without any worker before the run stops; 0: never",
    "log_format": "auto: live display on a terminal, else plain lines; quiet: errors only",
    "log_interval": "seconds between plain progress lines",
}
INSECURE = "beyond this machine without keys: anybody there can read and change the run"
QUIET = "as --log-format quiet"
SHORT = {"batch_size": ["-b"], "weight_decay": ["--wd"]}

GROUPS = {section: Group(section.capitalize(), sort_key=at) for at, section in enumerate(SECTIONS, 10)}


def spelling(field: str) -> str:
    """`batch_size` -> `--batch-size`."""
    return "--" + field.replace("_", "-")


def takes_config(*fields: str, **defaults: str) -> Callable[[F], F]:
    """Gives a verb one keyword flag for each of these configuration fields (default: all); they arrive in `**flags`.

    `flags` holds text, and only the fields that stood on the command line. `defaults`: where the verb has others than
    the configuration, for its help.
    """

    def decorate(verb: F) -> F:
        formals = [p for p in signature(verb).parameters.values() if p.kind is not Formal.VAR_KEYWORD]
        own = [p.replace(annotation=verb.__annotations__[p.name]) for p in formals]
        configured = [_formal(field, defaults.get(field)) for field in fields or SECTION_OF]
        verb.__signature__ = signature(verb).replace(parameters=[*own, *configured])  # type: ignore[attr-defined]  # read by inspect.signature
        return verb

    return decorate


def texts(flags: Mapping[str, str | bool]) -> dict[str, str]:
    """What arrived in `**flags`, as text: a switch is "true" or "false"."""
    return {field: str(value).lower() if isinstance(value, bool) else value for field, value in flags.items()}


def silenced(flags: Mapping[str, str | bool], *, quiet: bool) -> dict[str, str]:
    """As `texts`, with what --quiet stands for. Raises UsageError where another format is asked for as well."""
    found = texts(flags)
    if not quiet:
        return found
    if found.setdefault("log_format", "quiet") != "quiet":
        raise UsageError(f"--quiet and --log-format {found['log_format']}: one of them")
    return found


def _formal(field: str, own: str | None) -> Formal:
    rule, default = RULES[field], values(Config())[field]
    kind: Any = str
    if isinstance(rule, Whole):
        kind = int
    elif isinstance(rule, Real):
        kind = float
    elif isinstance(rule, Switch):
        kind = bool
    elif isinstance(rule, Choice):
        kind = Literal[rule.words]
    shown = own or (",".join(map(str, default)) if isinstance(default, tuple) else str(default))
    about = HELP[field] + (f" [{shown.lower() if isinstance(rule, Switch) else shown}]" if shown else "")
    parameter = Parameter(
        name=[spelling(field), *SHORT.get(field, [])],
        help=about,
        group=GROUPS[SECTION_OF[field]],
        converter=_text,
        show_default=False,
    )
    return Formal(field, Formal.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, parameter])


def _text(_: type, tokens: Sequence[Token]) -> str:
    """The flag's text as it stands (switches do not come this way)."""
    return tokens[0].value
