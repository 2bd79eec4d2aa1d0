"""Makes a small data set in the format of State Farm's drivers, then imports, trains and explains with it.

    python tools/drivers.py FOLDER [--drivers 12] [--each 6] [--epochs 20] [--filters 16]

FOLDER/data/sfddd gets JPEG files of 640 x 480 pixels in c0 ... c9 and the table of drivers. Each driver has its own
colour cast and place in the frame, so a network that was trained on a driver recognises its images more easily. The
split is therefore by driver. The real photographs, which need an account at Kaggle, work the same from the second
command on.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from dptrain.cli import main as dptrain
from dptrain.data import open_dataset
from dptrain.data.dataset import split
from dptrain.data.datasets.sfddd import TABLE
from dptrain.data.datasets.shapes32 import generate

SIZE = (640, 480)
AUGMENT = "tint:20,contrast:20,rotate:10,window:32:32"
_SIDE = 384  #: of the form a photograph is about
_APART = 10_000  #: numbers of pictures between two drivers


def make_photographs(root: Path, drivers: int, each: int) -> int:
    """Writes `each` photographs per class and driver below ROOT/train, and the table. Returns their number."""
    rows: list[tuple[str, str, str]] = []
    for driver in range(drivers):
        cast = np.array([driver * k % 81 - 40 for k in (37, 53, 71)])
        right, down = (driver * k % 121 - 60 for k in (29, 83))
        images, labels = generate(np.arange(10 * each) + _APART * driver)
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            photograph = Image.new("RGB", SIZE, tuple(int(c) for c in 128 + cast))
            form = Image.fromarray(np.clip(image.astype(int) + cast, 0, 255).astype(np.uint8))
            photograph.paste(form.resize((_SIDE, _SIDE)), (128 + right, 48 + down))
            row = (f"p{driver:03}", f"c{label}", f"img_{driver}_{number}.jpg")
            folder = root / "train" / row[1]
            folder.mkdir(parents=True, exist_ok=True)
            photograph.save(folder / row[2], quality=85)
            rows.append(row)
    with (root / TABLE).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("subject", "classname", "img"), *rows])
    return len(rows)


def drivers_apart(data: Path, drivers: int, each: int) -> str:
    """One line with the drivers of each part. Raises SystemExit if a driver is in two parts."""
    found = open_dataset("sfddd", str(data))
    assert found.train_groups is not None, "the table names the drivers"
    parts = split(found, -1)
    trained, validated = (set(found.train_groups[part].tolist()) for part in (parts.train, parts.validation))
    if trained & validated:
        raise SystemExit(f"drivers {sorted(trained & validated)} are trained on and validated on")
    tested = set(range(drivers)) - trained - validated
    if len(found.test_labels) != 10 * each * len(tested):  # a tested driver is also trained on
        raise SystemExit(f"{len(found.test_labels)} to test: not {10 * each} each of {sorted(tested)}")
    return f"drivers: {len(trained)} to train, {len(validated)} to validate, {len(tested)} to test; none in two parts"


def run(words: Sequence[object]) -> None:
    """Runs a command of dptrain. Raises SystemExit if it fails."""
    code = dptrain([str(word) for word in words])
    if code:
        raise SystemExit(code)


def main(argv: Sequence[str] | None = None) -> None:
    """Runs every step from the photographs to the saliency maps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    for name, default in (("drivers", 12), ("each", 6), ("epochs", 20), ("filters", 16)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args(argv)
    folder: Path = given.folder
    if given.drivers < 3 or given.each < 1:
        parser.error("--drivers 3 or more, one for each part; --each 1 or more")
    if folder.exists() and any(folder.iterdir()):
        parser.error(f"{folder} is not empty: name a new folder, or remove this one")
    data, runs = folder / "data", folder / "runs"
    count = make_photographs(data / "sfddd", given.drivers, given.each)
    sys.stdout.write(f"{count} photographs of {given.drivers} drivers in {data / 'sfddd'}\n")
    sys.stdout.write(f"{drivers_apart(data, given.drivers, given.each)}\n")
    here = ["--data-dir", data]
    preview = ["--augment", AUGMENT, "--rows", 5, "--variants", 9, "--out", folder / "preview.png"]
    run(["data", "preview", "--dataset", "sfddd", *here, *preview])
    size = ["--batch-size", 32, "--epochs", given.epochs, "--filters", given.filters, "--augment", AUGMENT]
    run(["train", "--dataset", "sfddd", *here, *size, "--workers", 0, "--runs", runs, "--name", "drivers"])
    run(["explain", "confusion", runs / "drivers", *here, "--out", folder / "confusion.png"])
    run(["explain", "saliency", runs / "drivers", *here, "--split", "train", "--out", folder / "saliency.png"])


if __name__ == "__main__":
    main()
