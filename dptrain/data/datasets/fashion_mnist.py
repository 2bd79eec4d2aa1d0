"""Fashion-MNIST: images of clothes in the format of MNIST (Xiao et al. 2017, arXiv:1708.07747)."""

from __future__ import annotations

from pathlib import Path

from dptrain.data.datasets import mnist
from dptrain.data.datasets.fashion_mini import CLASSES
from dptrain.data.descriptor import Descriptor, Files, Form, tool_folders

DEBIAN = Path("/usr/share/datasets/fashion-mnist")  #: of the package dataset-fashion-mnist


def _find(home: Path, _: Form) -> Files | None:
    torchvision = [base / "FashionMNIST" / "raw" for base in (home, *tool_folders())]
    keras = [folder / "fashion-mnist" for folder in tool_folders()]
    folders = [home / "fashion-mnist", torchvision[0], home, DEBIAN, *torchvision[1:], *keras]
    return mnist.find_idx("fashion-mnist", CLASSES, folders)


DATASET = Descriptor(
    name="fashion-mnist",
    about="images of clothes",
    form=Form(28, 28, 1, 10),
    train=60_000,
    test=10_000,
    terms="MIT",
    find=_find,
    wanted=mnist.WANTED,
    folder="fashion-mnist",
    note="Debian: apt install dataset-fashion-mnist",
    needed=mnist.sources(
        (
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        ),
        (
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
    ),
)
