"""Test errors that others have published, in percent: He et al. 2015 (table 6), gcr's Torch networks, PyFunt."""

from __future__ import annotations

from dptrain.config import Config

#: CIFAR-10, weighted layers -> who: error. PyFunt and gcr: one run each, the best or last epoch seen on the test set.
CIFAR10 = {
    20: {"paper": 8.75, "gcr": 8.29, "PyFunt": 9.59},
    32: {"paper": 7.51, "gcr": 7.63},
    44: {"paper": 7.17, "gcr": 7.14},
    56: {"paper": 6.97, "gcr": 6.94},
    110: {"paper": 6.61, "gcr": 6.73},
}


def published(config: Config) -> str:
    """As text: paper 8.75, gcr 8.29, PyFunt 9.59; "" where nothing is known of such a network on the whole set."""
    data, model = config.data, config.model
    theirs = data.dataset == "cifar10" and data.samples == 0 and model.residual and model.filters == 16
    known = CIFAR10.get(6 * model.n + 2, {}) if theirs else {}
    return ", ".join(f"{who} {error:.2f}" for who, error in known.items())
