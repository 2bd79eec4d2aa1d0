"""The shipped recipes: TOML files in this folder, and the tables of `families`."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from importlib.resources import files

from dptrain.recipes.families import FAMILIES
from dptrain.rules import Value
from dptrain.settings import from_sections

#: The recipes that `dptrain recipes` shows a new user.
FIRST = ("fashion-quick", "mnist", "cifar10-resnet20-10epochs", "cifar10-paper-20", "sfddd")
#: Title of a group -> its recipes, each a TOML file in this folder.
_FILES = {
    "Quick runs without a download": ("fashion-quick", "shapes-smoke"),
    "Whole data sets": ("cifar10", "cifar10-resnet20-10epochs", "mnist", "mnist-resnet32", "sfddd"),
}


@dataclass(frozen=True, slots=True)
class Recipe:
    """A shipped recipe."""

    group: str  #: title of the group it is listed in
    about: str  #: one sentence
    values: dict[str, Value]  #: checked settings by bare name


def shipped() -> dict[str, Recipe]:
    """The shipped recipes by name, group by group."""
    found = {name: _from_file(group, name) for group, names in _FILES.items() for name in names}
    for family in FAMILIES:
        for member in family.members:
            recipe = Recipe(family.title, family.about(member), family.values(member))
            found[f"{family.name}-{member.name}"] = recipe
    return found


def _from_file(group: str, name: str) -> Recipe:
    """The first sentence of the comment at the top says what the recipe is."""
    text = (files(__name__) / f"{name}.toml").read_text(encoding="utf-8")
    comment = re.match(r"(?:#.*\n)+", text)
    prose = " ".join(re.sub(r"^# ?", "", comment[0], flags=re.MULTILINE).split()) if comment else ""
    return Recipe(group, re.split(r"(?<=\.) (?=[A-Z0-9])", prose)[0], from_sections(tomllib.loads(text)))
