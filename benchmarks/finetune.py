"""Is fine-tuning useful? ResNet-20, trained on five classes of CIFAR-10, learns the other five from 500 images.

`python benchmarks/finetune.py` trains once on airplane to deer (25,000 images), then on 100 images each of dog to
truck: from these weights, with a frozen stem, and from scratch, three seeds each. It prints the accuracy on the 5,000
test images of the five new classes. About half an hour on one core.
"""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import mean
from typing import Annotated, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a script finds only what lies in its own folder

import numpy as np
from cyclopts import App, Parameter

import dptrain
from dptrain.cli.app import guarded
from dptrain.types import I64, U8

NETWORK: dict[str, Any] = {"n": 3, "filters": 16, "augment": ["crop:4", "flip"], "workers": 0, "log_format": "quiet"}
FEW: dict[str, Any] = {"batch_size": 50, "shard_size": 25, "validation": 0}
#: Name of a way -> its settings besides. From scratch with two learning rates, so that the choice is not to blame.
WAYS: dict[str, dict[str, Any]] = {
    "from scratch, lr 0.1": {"lr": 0.1},
    "fine-tuned, lr 0.02": {"lr": 0.02, "start": True},
    "fine-tuned, lr 0.02, conv1, bn1 and layer1 frozen": {"lr": 0.02, "start": True, "freeze": "conv1,bn1,layer1"},
    "from scratch, lr 0.02": {"lr": 0.02},
}


def part(images: U8, labels: I64, first: int, most: int = 0) -> tuple[U8, I64]:
    """The images of five classes from `first` on, numbered from 0; of each class at most so many."""
    chosen = [np.flatnonzero(labels == number)[: most or None] for number in range(first, first + 5)]
    places = np.sort(np.concatenate(chosen))
    return np.ascontiguousarray(images[places]), labels[places] - first


def finetune(
    *,
    runs: Annotated[Path, Parameter(help="directory of the runs")] = Path("runs"),
    epochs: Annotated[int, Parameter(help="of the first training")] = 6,
    few_epochs: Annotated[int, Parameter(help="of each training on 500 images")] = 30,
    seeds: Annotated[int, Parameter(help="trainings per way")] = 3,
) -> int:
    """Trains all ways and prints a table."""
    data = dptrain.load_data("cifar10")
    train, test = (data.train_images, data.train_labels), (data.test_images, data.test_labels)
    old, old_test, new, new_test = part(*train, 0), part(*test, 0), part(*train, 5, 100), part(*test, 5)
    first = dptrain.fit(*old, test=old_test, epochs=epochs, runs=runs, name="five-classes", resume="auto", **NETWORK)
    print(f"first five classes: accuracy {first.test_accuracy:.4f} after {epochs} epochs", flush=True)
    for way, given in WAYS.items():
        settings = NETWORK | FEW | given | ({"start": first} if "start" in given else {})
        found = []
        for seed in range(seeds):
            run = dptrain.fit(*new, test=new_test, epochs=few_epochs, seed=seed, runs=runs, **settings)
            found.append(run.test_accuracy or 0.0)
        print(f"{way}: mean {mean(found):.4f}  ({', '.join(f'{value:.4f}' for value in found)})", flush=True)
    return 0


if __name__ == "__main__":
    app = App(name="benchmarks/finetune.py", result_action="return_value")
    app.default(finetune)
    sys.exit(guarded(lambda: app(exit_on_error=False, print_error=False), "benchmarks/finetune.py"))
