"""CIFAR-100 in its two official layouts; 100 fine classes, or 20 coarse ones. The readers are those of cifar10.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dptrain.data.dataset import Part
from dptrain.data.datasets import cifar10
from dptrain.data.descriptor import Descriptor, Files, Form, Source, tool_folders

FINE = (
    "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle", "bowl", "boy",
    "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle", "chair", "chimpanzee", "clock",
    "cloud", "cockroach", "couch", "crab", "crocodile", "cup", "dinosaur", "dolphin", "elephant", "flatfish",
    "forest", "fox", "girl", "hamster", "house", "kangaroo", "keyboard", "lamp", "lawn_mower", "leopard", "lion",
    "lizard", "lobster", "man", "maple_tree", "motorcycle", "mountain", "mouse", "mushroom", "oak_tree", "orange",
    "orchid", "otter", "palm_tree", "pear", "pickup_truck", "pine_tree", "plain", "plate", "poppy", "porcupine",
    "possum", "rabbit", "raccoon", "ray", "road", "rocket", "rose", "sea", "seal", "shark", "shrew", "skunk",
    "skyscraper", "snail", "snake", "spider", "squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank",
    "telephone", "television", "tiger", "tractor", "train", "trout", "tulip", "turtle", "wardrobe", "whale",
    "willow_tree", "wolf", "woman", "worm",
)  # fmt: skip
COARSE = (
    "aquatic_mammals", "fish", "flowers", "food_containers", "fruit_and_vegetables", "household_electrical_devices",
    "household_furniture", "insects", "large_carnivores", "large_man-made_outdoor_things",
    "large_natural_outdoor_scenes", "large_omnivores_and_herbivores", "medium_mammals", "non-insect_invertebrates",
    "people", "reptiles", "small_mammals", "trees", "vehicles_1", "vehicles_2",
)  # fmt: skip
PYTHON, BINARY = "cifar-100-python", "cifar-100-binary"


def files(folder: Path) -> list[Path]:
    """The two files of a folder in either layout, training first; none if it holds neither. One may not exist."""
    for suffix in (".bin", ""):
        paths = [folder / f"{name}{suffix}" for name in ("train", "test")]
        if any(path.is_file() for path in paths):
            return paths
    return []


def read(paths: list[Path], classes: tuple[str, ...]) -> tuple[Part, Part]:
    """Training and test part; classes: FINE or COARSE, by which the labels are chosen. Raises DataError."""
    train, test = (_binary(path, classes) if path.suffix == ".bin" else _python(path, classes) for path in paths)
    return train, test


def _binary(path: Path, classes: tuple[str, ...]) -> Part:
    """Records of a coarse label, a fine label and 3,072 pixel bytes."""
    records = cifar10.records(path, labels=2)
    return cifar10.part(path, records[:, 2:], records[:, int(classes is FINE)].astype(np.int64), len(classes))


def _python(path: Path, classes: tuple[str, ...]) -> Part:
    planes, labels = cifar10.batch(path, "fine_labels" if classes is FINE else "coarse_labels")
    return cifar10.part(path, planes, labels, len(classes))


def _find(home: Path, form: Form) -> Files | None:
    coarse = form.classes == len(COARSE)
    elsewhere = [base / f"{PYTHON}{target}" for base in tool_folders() for target in ("", f"-target/{PYTHON}")]
    paths = next((found for folder in (home / BINARY, home / PYTHON, *elsewhere) if (found := files(folder))), None)
    if paths is None:
        return None
    classes = COARSE if coarse else FINE
    return Files(
        "cifar100-coarse" if coarse else "cifar100", classes, paths[0].parent, paths, lambda: read(paths, classes)
    )


DATASET = Descriptor(
    name="cifar100",
    about="photographs",
    form=Form(32, 32, 3, len(FINE)),
    train=50_000,
    test=10_000,
    terms="no licence stated, cite the report",
    variants={"fine": len(FINE), "coarse": len(COARSE)},
    find=_find,
    wanted=f"{PYTHON} or {BINARY}",
    places=(PYTHON, BINARY),
    needed=(
        Source(
            "cifar-100-python.tar.gz",
            "sha256:85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
            cifar10.MIRRORS,
        ),
    ),
    accepted=(Source("cifar-100-binary.tar.gz", "md5:03b5dce01913d631647c71ecec9e9cb8", cifar10.MIRRORS),),
)
