"""Recipes for published tables of results: the settings of each table once, and what differs per network.

Settings have their bare names. `dptrain train --recipe cifar10-gcr-20 --print-config` prints a recipe in full.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dptrain.rules import Value


@dataclass(frozen=True, slots=True)
class Member:
    """One recipe of a family, and the result that was published for it."""

    name: str  #: the recipe is called FAMILY-NAME; begins with the number of weighted layers
    error: float  #: published test error, percent
    settings: Mapping[str, Value]  #: what differs from the family's settings
    variant: str = ""  #: what differs, in words


@dataclass(frozen=True, slots=True)
class Family:
    """Recipes that reproduce one published table."""

    name: str
    title: str
    authors: str  #: as results are labelled
    note: str  #: how the results were obtained; ends the sentence about each recipe
    settings: Mapping[str, Value]  #: common to all members
    members: tuple[Member, ...]

    def about(self, member: Member) -> str:
        """One sentence about a member."""
        depth = member.name.partition("-")[0]
        what = f"ResNet-{depth}{member.variant and f' {member.variant}'} on CIFAR-10"
        return f"{what}; published test error: {member.error:.2f} % ({self.note})."

    def values(self, member: Member) -> dict[str, Value]:
        """All settings of a member."""
        return {**self.settings, **member.settings}


# What both tables share. An image is shifted by up to 4 pixels; the border is filled with mean grey (121). A batch of
# 128 is two shards of 64: BatchNorm sees 64 images, as on each of the paper's two GPUs; gcr's BatchNorm sees 128.
_CIFAR10: dict[str, Value] = {
    "dataset": "cifar10",
    "augment": ("crop:4:121", "flip"),
    "filters": 16,
    "block": "paper",
    "batch_size": 128,
    "shard_size": 64,
    "weight_decay": 0.0001,
    "decay": "all",
    "schedule": "steps",
    "factor": 0.1,
    "warmup": 0.0,
    "workers": 2,
    "augmenters": 0,
}

# He et al. 2015, "Deep residual learning for image recognition", section 4.2 and table 6. 45,000 training images,
# 5,000 validation images, 64,000 steps; the learning rate is divided by 10 after 32,000 and 48,000 steps. 110 layers
# train at a learning rate of 0.01 for the first 400 steps; the paper waits until the training error is below 80 %.
#
# cifar10-paper-20 was run once with dptrain: 12.59 % test error on a copy of CIFAR-10 that was compressed with JPEG
# (its pixels differ from the originals and are harder to classify). 2 workers on 2 cores (Zen 4): 3 h 09 min,
# 930 images/s while no other process was running.
_PAPER = Family(
    name="cifar10-paper",
    title="The CIFAR-10 networks of He et al. 2015 (section 4.2)",
    authors="paper",
    note="He et al. 2015",
    settings={
        **_CIFAR10,
        "validation": 5000,
        "shortcut": "A",
        "epochs": 182,
        "lr": 0.1,
        "momentum": 0.9,
        "nesterov": False,
        "milestones": (91, 136),
    },
    members=(
        Member("20", 8.75, {"n": 3}),
        Member("32", 7.51, {"n": 5}),
        Member("44", 7.17, {"n": 7}),
        Member("56", 6.97, {"n": 9}),
        Member("110", 6.61, {"n": 18, "warmup": 1.14, "warmup_factor": 0.1}),  # mean of 5 runs
    ),
)

# github.com/gcr/torch-residual-networks: a reimplementation in Torch that compares blocks and optimizers. All 50,000
# images are trained on, and drawn with replacement. The learning rate is divided by 10 at epochs 80 and 120. The
# shortcut appends its zero channels at the end. Each result is one run.
_NESTEROV: dict[str, Value] = {"lr": 0.1, "momentum": 0.9, "nesterov": True}
# gcr's other learning rates are worse. RMSprop at 1e-4, 1e-3, 1e-1: 16.77, 10.55, 13.54 % (20 layers), 14.82, 8.21,
# 10.98 % (110 layers).
_RMSPROP: dict[str, Value] = {"optimizer": "rmsprop", "lr": 0.01, "rho": 0.9}
# Adagrad at 1e-3, 1e-2: 35.36, 16.03 % (20 layers), 30.22, 13.21 % (110 layers).
_ADAGRAD: dict[str, Value] = {"optimizer": "adagrad", "lr": 0.1}
# Torch's Adadelta has no learning rate, which is the same as a learning rate of 1.
_ADADELTA: dict[str, Value] = {"optimizer": "adadelta", "lr": 1.0, "rho": 0.3}
# gcr's "fancy policy": a learning rate of 0.001 for the first 400 steps.
_WARM: dict[str, Value] = {"warmup": 1.023, "warmup_factor": 0.01}

_NO_RELU = "without ReLU after the addition"
_BN_AFTER = "with BatchNorm and ReLU after the addition"
_BN_AFTER_NO_RELU = "with BatchNorm and no ReLU after the addition"

_GCR = Family(
    name="cifar10-gcr",
    title="gcr's CIFAR-10 comparison of blocks and optimizers (github.com/gcr/torch-residual-networks)",
    authors="gcr",
    note="gcr, one run",
    settings={
        **_CIFAR10,
        "validation": 0,
        "replacement": True,
        "shortcut": "A-end",
        "gamma": "gcr",
        "epochs": 200,
        "milestones": (80, 120),
    },
    members=(
        Member("20", 8.29, {"n": 3, **_NESTEROV}),
        Member("32", 7.63, {"n": 5, **_NESTEROV}),
        Member("44", 7.14, {"n": 7, **_NESTEROV}),
        Member("56", 6.94, {"n": 9, **_NESTEROV}),
        Member("110", 6.73, {"n": 18, **_NESTEROV, **_WARM}),
        Member("110-cold", 6.97, {"n": 18, **_NESTEROV}, "without a warm-up"),
        Member("20-no-relu", 8.62, {"n": 3, **_NESTEROV, "block": "no-relu"}, _NO_RELU),
        Member("20-bn-after", 8.34, {"n": 3, **_NESTEROV, "block": "bn-after"}, _BN_AFTER),
        Member("20-bn-after-no-relu", 8.23, {"n": 3, **_NESTEROV, "block": "bn-after-no-relu"}, _BN_AFTER_NO_RELU),
        Member("20-rmsprop", 9.45, {"n": 3, **_RMSPROP}, "with RMSprop"),
        Member("20-adagrad", 12.55, {"n": 3, **_ADAGRAD}, "with Adagrad"),
        Member("20-adadelta", 10.93, {"n": 3, **_ADADELTA}, "with Adadelta"),
        Member("110-no-relu", 6.32, {"n": 18, **_NESTEROV, "block": "no-relu"}, _NO_RELU),
        Member("110-bn-after", 13.56, {"n": 18, **_NESTEROV, "block": "bn-after"}, _BN_AFTER),
        Member("110-bn-after-no-relu", 12.30, {"n": 18, **_NESTEROV, "block": "bn-after-no-relu"}, _BN_AFTER_NO_RELU),
        Member("110-rmsprop", 7.68, {"n": 18, **_RMSPROP}, "with RMSprop"),
        Member("110-adagrad", 11.45, {"n": 18, **_ADAGRAD}, "with Adagrad"),
        Member("110-adadelta", 8.88, {"n": 18, **_ADADELTA}, "with Adadelta"),
    ),
)

FAMILIES = (_PAPER, _GCR)
