"""Data sets named by their content, and .npz files: the same images have the same SHA-256, whatever they came from."""

from __future__ import annotations

import gzip
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
from PIL import Image

from dptrain.data.arrays import PLAIN, labelled
from dptrain.data.catalog import form_of, keep, open_dataset, own
from dptrain.data.dataset import assemble, split
from dptrain.data.parts import Given, join
from dptrain.errors import DataError, MissingDataError, UsageError


@pytest.fixture
def parts(noise):
    """x, y, x_test, y_test of two classes, 6 x 5 pixels."""
    return noise((20, 6, 5, 3)), np.arange(20) % 2, noise((4, 6, 5, 3), 1), np.arange(4) % 2


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


def _given(parts, validation=None):
    x, y, x_test, y_test = parts
    more = None if validation is None else labelled(*validation, "validation", PLAIN)
    return Given(labelled(x, y, "x", PLAIN), labelled(x_test, y_test, "test", PLAIN), more)


def _dataset(parts, names=("a", "b"), validation=None):
    return assemble("mine", *join("mine", _given(parts, validation), names))


def test_arrays_a_npz_file_and_a_folder_of_the_same_images_have_the_same_sha256(tmp_path, home, parts):
    x, y, x_test, y_test = parts
    for images, labels, part in ((x, y, "train"), (x_test, y_test, "test")):
        order = np.argsort(labels, kind="stable")  # a folder is read class by class
        for at, number in enumerate(order):
            path = tmp_path / "folder" / part / "ab"[labels[number]] / f"{at:03d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(images[number]).save(path)
    sort = [a[np.argsort(labels, kind="stable")] for a, labels in ((x, y), (y, y), (x_test, y_test), (y_test, y_test))]
    names = ("x_train", "y_train", "x_test", "y_test")
    np.savez(tmp_path / "mine.npz", **dict(zip(names, sort, strict=True)), class_names=["a", "b"])
    np.savez_compressed(
        tmp_path / "other.npz",
        train_images=(sort[0] / 255).transpose(0, 3, 1, 2).astype(np.float32),
        train_labels=sort[1][:, None],
        test_images=(sort[2] / 255).transpose(0, 3, 1, 2),
        test_labels=sort[3].astype(np.uint8),
        pixel_range=[0, 1],
        class_names=["a", "b"],
    )
    folder = open_dataset(f"folder:{tmp_path / 'folder'}:6x5", str(home))
    found = [open_dataset(f"npz:{tmp_path / name}.npz", str(home)) for name in ("mine", "other", "mine")]
    kept = open_dataset(keep(_dataset(sort), home), str(home))
    assert {one.sha256 for one in (*found, kept)} == {folder.sha256}
    assert {one.classes for one in (*found, kept)} == {("a", "b")}
    np.testing.assert_array_equal(kept.train_images, folder.train_images)
    assert not kept.train_images.flags.writeable, "mapped"


def test_a_stored_data_set_is_named_by_its_content_and_kept_once(home, parts):
    names = [keep(_dataset(parts), home) for _ in range(2)]
    other = keep(_dataset(parts, ("b", "a")), home)
    assert names[0] == names[1] != other
    assert names[0] == f"array:{_dataset(parts).sha256[:16]}:6x5x3"
    assert len(list((home / "arrays").glob("*.json"))) == 2
    assert form_of(names[0], str(home)) == (6, 5, 3, 2)
    assert own(home).keys() == {names[0], other}


def test_validation_images_of_ones_own_are_the_validation_part_and_change_the_sha256(home, parts, noise, caplog):
    own = (noise((3, 6, 5, 3), 7), np.array([1, 0, 1]))
    name = keep(_dataset(parts, validation=own), home)
    found = open_dataset(name, str(home))
    drawn = split(found, -1)
    np.testing.assert_array_equal(found.train_images[drawn.validation], own[0])
    np.testing.assert_array_equal(found.train_images[drawn.train], parts[0])
    assert found.train_labels[drawn.validation].tolist() == [1, 0, 1]
    lacking = keep(_dataset(parts, validation=(own[0], np.ones(3, np.int64))), home)
    split(open_dataset(lacking, str(home)), -1)
    assert "the validation set (3 images) has none of 'a': its accuracy says nothing about them" in caplog.text
    assert (split(found, 0).validation.size, split(found, 0).train.tolist()) == (0, list(range(20)))
    assert split(found, -1, samples=5).train.max() < 20
    joined = tuple(np.concatenate(pair) for pair in zip(parts[:2], own, strict=True))
    assert found.sha256 != _dataset((*joined, *parts[2:])).sha256
    for wrong in (1, 3, -2):
        with pytest.raises(UsageError, match=r"has 3 validation images of its own: allowed are -1 for these, or 0"):
            split(found, wrong)
    with pytest.raises(UsageError, match="has 20 images to train on"):
        split(found, -1, samples=21)


def test_without_test_images_a_tenth_is_held_out(parts, caplog):
    given = _given(parts)._replace(test=None)
    assert assemble("mine", *join("mine", given)).test_labels.size == 2
    assert "mine has no test set: a random tenth (2 images) is held out" in caplog.text


def test_a_stored_data_set_that_is_missing_damaged_or_misspelled_is_refused_in_one_line(home, parts):
    name = keep(_dataset(parts), home)
    digits = name.split(":")[1]
    with pytest.raises(MissingDataError, match=r"is not here: it is made of arrays by dptrain\.fit\(x, y\); on"):
        open_dataset(name.replace(digits, "0" * 16), str(home))
    with pytest.raises(UsageError, match="write array:HASH:HxWxC"):
        open_dataset("array:mine", str(home))
    (home / "arrays" / f"{'0' * 16}.json").write_bytes((home / "arrays" / f"{digits}.json").read_bytes())
    with pytest.raises(DataError, match="is damaged: remove both, and give the arrays again"):
        open_dataset(name.replace(digits, "0" * 16), str(home))
    content = next((home / "arrays").glob("*.u8"))
    content.write_bytes(content.read_bytes()[:-1])
    with pytest.raises(DataError, match="is damaged: remove both"):
        open_dataset(name, str(home))
    assert keep(_dataset(parts), home) == name, "giving the arrays again mends it"
    assert open_dataset(name, str(home)).train_labels.size == 20


def test_a_data_folder_that_cannot_be_written_is_said(home, parts):
    home.write_text("a file where the folder would be")
    with pytest.raises(DataError, match=r"the arrays cannot be stored in .*arrays: Not a directory; name another one"):
        keep(_dataset(parts), home)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({}, "holds no images for training: x_train and y_train"),
        ({"x_test": np.zeros((2, 3, 3), np.uint8), "y_test": [0, 1]}, "holds no images for training"),
        ({"x_train": 1}, "holds x_train: x_train and y_train (or"),
        ({"x_train": 1, "y_train": 1, "x": 1, "y": 1}, "holds x_train, y_train, x, y: "),
        ({"x_train": 1, "y_train": 1, "weights": 1}, "holds 'weights'; known are x_train and y_train"),
        ({"x_train": np.zeros((4, 3, 3)), "y_train": np.arange(4) % 2}, "mine.npz: x_train holds float64 from 0 to 0"),
        ({"x_train": np.zeros((4, 3, 3), np.uint8), "y_train": np.arange(3) % 2}, "x_train: 4 images, but 3 labels"),
        (
            {
                "x_train": np.zeros((4, 3, 3), np.uint8),
                "y_train": np.arange(4) % 2,
                "x_test": np.zeros((4, 2, 3), np.uint8),
                "y_test": np.arange(4) % 2,
            },
            "test: its images are (2, 3, 1), those for training (3, 3, 1) (h, w, c)",
        ),
        ({"x_train": np.array([{}, {}], object), "y_train": np.arange(2)}, "is no .npz file of plain arrays"),
        (b"", "is no .npz file of plain arrays, or a damaged one"),
        (b"PK\x03\x04 and then nothing", "is no .npz file of plain arrays, or a damaged one"),
    ],
)
def test_a_npz_file_of_something_else_is_refused_in_one_line(tmp_path, home, content, words):
    path = tmp_path / "mine.npz"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.savez(path, **content)
    with pytest.raises(DataError) as e:
        open_dataset(f"npz:{path}", str(home))
    assert words in str(e.value)
    assert "\n" not in str(e.value)


def test_a_npz_file_that_is_not_there_is_said_and_one_of_this_directory_is_pointed_at(tmp_path, home, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("mine.npz", x=np.zeros(1))
    for name, words in (
        ("npz:mine.npz", r"there is no file .*home/mine\.npz; the one in this directory is npz:\./mine\.npz"),
        ("npz:./gone.npz", r"there is no file gone\.npz"),
    ):
        with pytest.raises(DataError, match=words):
            open_dataset(name, str(home))
    with pytest.raises(UsageError, match=r"did you mean npz:\./mine\.npz, a file of arrays"):
        open_dataset("mine.npz", str(home))
    with pytest.raises(UsageError, match="write npz:FILE"):
        open_dataset("npz", str(home))


def test_a_header_that_announces_more_than_the_file_holds_takes_no_memory(tmp_path, home):
    head = b"{'descr': '|u1', 'fortran_order': False, 'shape': (100000, 1000, 1000), }"
    raw = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head) + 1) + head + b"\n"
    with zipfile.ZipFile(tmp_path / "mine.npz", "w") as file:
        file.writestr("x.npy", raw + bytes(1000))
        file.writestr("y.npy", raw)
    tracemalloc.start()
    with pytest.raises(DataError, match=r"is no \.npz file of plain arrays"):
        open_dataset(f"npz:{tmp_path / 'mine.npz'}", str(home))
    assert tracemalloc.get_traced_memory()[1] < 50 << 20
    tracemalloc.stop()


# --- where torchvision and Keras leave their data sets


@pytest.mark.parametrize("tool", ["torchvision", "torchvision, --data-dir", "Keras", "with dots"])
def test_mnist_of_other_tools_is_found_and_only_read(tmp_path, home, write_idx, monkeypatch, tool):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / ".keras"))
    places = {
        "torchvision": tmp_path / "data" / "MNIST" / "raw",
        "torchvision, --data-dir": home / "MNIST" / "raw",
        "with dots": home / "mnist",
        "Keras": tmp_path / "idx",
    }
    folder = write_idx(places[tool], packed=False)
    wanted = open_dataset("mnist", str(write_idx(tmp_path / "plain" / "mnist").parent)).sha256
    if tool == "Keras":
        files = sorted((tmp_path / "plain" / "mnist").iterdir())
        arrays = [np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8) for path in files]
        (tmp_path / ".keras" / "datasets").mkdir(parents=True)
        x_test, y_test, x, y = (a[16:].reshape(-1, 6, 5) if i % 2 == 0 else a[8:] for i, a in enumerate(arrays))
        np.savez(tmp_path / ".keras" / "datasets" / "mnist.npz", x_train=x, y_train=y, x_test=x_test, y_test=y_test)
    if tool == "with dots":
        for path in folder.iterdir():
            path.rename(path.with_name(path.name.replace("-idx", ".idx")))
    before = sorted(str(path) for path in tmp_path.rglob("*") if home not in path.parents)
    assert open_dataset("mnist", str(home)).sha256 == wanted
    assert sorted(str(path) for path in tmp_path.rglob("*") if home not in path.parents and path != home) == [
        path for path in before if path != str(home)
    ]


@pytest.mark.parametrize("place", ["data", ".keras/datasets", ".keras/datasets/cifar-10-batches-py-target"])
def test_cifar10_of_other_tools_is_found(tmp_path, home, write_cifar, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / ".keras"))
    write_cifar(tmp_path / place / "cifar-10-batches-py", "py")
    assert open_dataset("cifar10", str(home)).train_labels.size == 20


@pytest.mark.parametrize("place", ["data/FashionMNIST/raw", ".keras/datasets/fashion-mnist"])
def test_fashion_mnist_of_other_tools_is_found(tmp_path, home, write_idx, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / ".keras"))
    write_idx(tmp_path / place)
    assert open_dataset("fashion-mnist", str(home)).train_labels.size == 12
