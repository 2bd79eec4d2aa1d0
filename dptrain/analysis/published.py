"""Published test errors on CIFAR-10, in percent: He et al. 2015 (table 6), gcr's Torch networks, PyFunt."""

from __future__ import annotations

from dptrain.config import Config
from dptrain.recipes.families import FAMILIES

#: PyFunt's ResNet-20, recipe cifar10: one run; its best epoch was chosen on the test set.
_PYFUNT = {"20": 9.59}


def published(config: Config) -> str:
    """As text: "paper 8.75, gcr 8.29, PyFunt 9.59"; "" if no result is published for this network and data set."""
    data, model = config.data, config.model
    if data.dataset != "cifar10" or data.samples or not model.residual or model.filters != 16:
        return ""
    tables = {family.authors: {member.name: member.error for member in family.members} for family in FAMILIES}
    tables["PyFunt"] = _PYFUNT
    depth = str(6 * model.n + 2)
    return ", ".join(f"{who} {table[depth]:.2f}" for who, table in tables.items() if depth in table)
