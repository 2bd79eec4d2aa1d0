"""`fit` with images: the same bits as the same images from a file or a folder, for any number of workers."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

import dptrain
from dptrain.api.given import Parts, store
from dptrain.errors import DataError, UsageError

pytestmark = pytest.mark.system

#: As tests/api/test_run.py: a network whose kernels are already compiled; 2 steps.
SMALL = {"filters": 4, "batch_size": 250, "shard_size": 125, "epochs": 1, "log_format": "quiet", "hash_every": 1}


@pytest.fixture(scope="module")
def shapes():
    """x, y, x_test, y_test: 500 + 50 images of shapes32, class by class as a folder is read."""
    data = dptrain.load_data("shapes32")
    order = np.argsort(data.train_labels[:500], kind="stable")
    tests = np.argsort(data.test_labels[:50], kind="stable")
    return data.train_images[order], data.train_labels[order], data.test_images[tests], data.test_labels[tests]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """Data sets are stored in a folder of the test."""
    monkeypatch.setenv("DPTRAIN_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "data"


def _hashes(run):
    return [json.loads(line)["sha256"] for line in (run.path / "hashes.jsonl").read_text().splitlines()]


class Pairs:
    """As torchvision's data sets."""

    def __init__(self, images, labels):
        self.images, self.labels = images, labels

    def __len__(self):
        return len(self.images)

    def __getitem__(self, at):
        return Image.fromarray(self.images[at]), int(self.labels[at])


def test_arrays_files_folders_and_objects_of_the_same_images_train_to_the_same_bits(shapes, home, tmp_path):
    x, y, x_test, y_test = shapes
    classes = tuple("abcdefghij")
    for part, images, labels in (("train", x, y), ("test", x_test, y_test)):
        for at, (image, label) in enumerate(zip(images, labels, strict=True)):
            path = home / "shapes" / part / classes[label] / f"{at:03d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)
    np.savez(tmp_path / "shapes.npz", x_train=x, y_train=y, x_test=x_test, y_test=y_test, class_names=classes)
    names = {"class_names": classes, "validation": 0.1}
    floats = [(images / 255).astype(np.float32).transpose(0, 3, 1, 2) for images in (x, x_test)]
    runs = [
        dptrain.fit(dataset="folder:shapes", validation=50, workers=0, **SMALL),
        dptrain.fit(dataset="npz:./shapes.npz", validation=50, workers=0, **SMALL),
        dptrain.fit(x, y, test=(x_test, y_test), workers=2, **names, **SMALL),
        dptrain.fit(Pairs(x, y), test=Pairs(x_test, y_test), recipe=None, workers=0, **names, **SMALL),
        dptrain.fit(floats[0], y, test=(floats[1], y_test), pixel_range=(0, 1), workers=0, **names, **SMALL),
    ]
    assert len(_hashes(runs[0])) >= 2
    assert [_hashes(run) for run in runs[1:]] == [_hashes(runs[0])] * 4
    assert {run.config.data.validation for run in runs} == {50}
    arrays = runs[2]
    assert runs[3].config.data.dataset == runs[4].config.data.dataset == arrays.config.data.dataset
    assert arrays.classes == classes
    assert arrays.evaluate().samples == 50
    assert len(arrays.predict(x_test)) == 50
    (tmp_path / "data" / "shapes" / "train").rename(tmp_path / "gone")
    again = dptrain.fit(x, y, test=(x_test, y_test), **names, **SMALL, name="again", max_steps=1, workers=0)
    finished = dptrain.fit(
        x, y, test=(x_test, y_test), **names, **SMALL, name="again", resume="auto", max_steps=0, workers=0
    )
    assert finished.path == again.path
    assert _hashes(finished) == _hashes(arrays)


@pytest.mark.parametrize(("validation", "images"), [(np.float32(0.7), "350"), (np.int64(5), "5"), (0.1, "50")])
def test_a_share_or_a_number_of_validation_images_may_be_a_number_of_numpy(shapes, home, validation, images):
    x, y, x_test, y_test = shapes
    assert store(Parts(x, y, (x_test, y_test), validation), home)["validation"] == images


def test_what_load_data_returns_and_validation_images_of_ones_own_are_trained_with(shapes):
    x, y, x_test, y_test = shapes
    data = dptrain.load_data("shapes32")
    run = dptrain.fit(data, validation=4500, workers=0, **SMALL)
    named = dptrain.fit(dataset="shapes32", validation=4500, workers=0, **SMALL)
    assert _hashes(run) == _hashes(named)
    own = dptrain.fit(x, y, recipe="fashion-quick", validation=(x_test, y_test), augment=(), workers=0, **SMALL)
    assert own.evaluate("validation").samples == 50
    assert own.config.data.validation == -1
    assert own.classes == tuple("0123456789")


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda x, y: dptrain.fit(x), DataError, "^data has no labels: give both, as in fit"),
        (lambda x, y: dptrain.fit(x, y[:9]), DataError, "^x: 500 images, but 9 labels"),
        (lambda x, y: dptrain.fit(x, y, test=x), DataError, "^test has no labels"),
        (lambda x, y: dptrain.fit(x, y, test=(x[:, :9], y)), DataError, r"^test: its images are \(9, 32, 3\)"),
        (lambda x, y: dptrain.fit(iter(x), y), DataError, "^x is an iterator: it gives its images once"),
        (lambda x, y: dptrain.fit(x, y, validation=1.5), UsageError, "^validation = 1.5: a share is between 0 and 1"),
        (lambda x, y: dptrain.fit(x, y, validation=np.float32(1.5)), UsageError, "a share is between 0 and 1"),
        (
            lambda x, y: dptrain.fit(x, y, validation=True),
            UsageError,
            r"^validation = True: a share such as 0",
        ),
        (
            lambda x, y: dptrain.fit(x, y, validation="0.1"),
            UsageError,
            r"^validation = '0\.1': a share such as 0",
        ),
        (
            lambda x, y: dptrain.fit(x, y, test=dptrain.load_data("shapes32")),
            UsageError,
            r"^test: say which images of the Dataset: test=\(data\.test_images, data\.test_labels\)",
        ),
        (
            lambda x, y: dptrain.fit(dptrain.load_data("shapes32"), pixel_range=(0, 1)),
            UsageError,
            "^pixel_range and layout: .* has its own",
        ),
        (
            lambda x, y: dptrain.fit("shapes-smoke", test=(x, y)),
            UsageError,
            r"^test goes with images: fit\(x, y, test=\.\.\.\)",
        ),
        (lambda x, y: dptrain.fit(x, y=y), UsageError, r"^y is given by its place and without a name: fit\(x, y\)"),
        (lambda x, y: dptrain.fit(x, y, dataset="mnist"), UsageError, "^dataset = 'mnist': images are given already"),
        (lambda x, y: dptrain.fit(x, y, on_epoch=3), UsageError, "^on_epoch = 3: must be a function of one record"),
        (lambda x, y: dptrain.fit(x, y, on_epoch=0), UsageError, "^on_epoch = 0: must be a function"),
        (lambda x, y: dptrain.fit(x, y, on_step=""), UsageError, "^on_step = '': must be a function"),
        (lambda x, y: dptrain.fit(x, y, epoch=3), UsageError, "^there is no setting 'epoch'; did you mean epochs"),
        (lambda x, y: dptrain.fit(x, y, learning_rate=3), UsageError, "no setting 'learning_rate'; did you mean lr?"),
        (lambda x, y: dptrain.fit(x, y, num_workers=3), UsageError, "no setting 'num_workers'; did you mean workers?"),
        (
            lambda x, y: dptrain.fit(dptrain.load_data("shapes32"), test=(x, y)),
            UsageError,
            "^test: Dataset.* has its own",
        ),
        (lambda x, y: dptrain.fit("fashion-quick", y), DataError, "^x is a str: an array of images"),
        (lambda x, y: dptrain.fit(x, y, layout="hwc"), DataError, "^layout = 'hwc': must be one of nhw, nhwc, nchw"),
    ],
)
def test_images_that_cannot_be_trained_with_are_refused_before_anything_is_stored(shapes, home, call, error, words):
    with pytest.raises(error, match=words):
        call(*shapes[:2])
    assert not home.exists()
