"""Finding data sets by name, in the documented folders; errors list the folders that were searched."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dptrain.api.inputs import form_of
from dptrain.data import catalog
from dptrain.data.catalog import data_home, open_dataset
from dptrain.data.datasets import DATASETS, cifar10, fashion_mnist
from dptrain.data.descriptor import Descriptor, Form
from dptrain.errors import DataError, UsageError
from dptrain.settings import SETTINGS, DataConfig


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("cifar", "cifar10"),
        ("CIFAR10", "cifar10"),
        ("Fashion-MNIST", "fashion-mnist"),
        ("fashion-mist", "fashion-mnist"),
        ("shapes", "shapes32"),
        ("fashionmini", "fashion-mini"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(name, nearest):
    with pytest.raises(UsageError, match=f"no data set '{name}'; did you mean {nearest}"):
        open_dataset(name, "")


def test_an_unknown_name_like_no_data_set_is_refused_with_the_list_of_all():
    with pytest.raises(
        UsageError, match=r"no data set 'qqq'. There are fashion-mini, shapes32, cifar10, .*, folder:PATH"
    ):
        open_dataset("qqq", "")


def test_a_name_that_is_too_long_for_a_file_is_refused_in_one_line():
    with pytest.raises(DataError, match=r"^x+ cannot be read: File name too long$"):
        open_dataset("x" * 300, "")


def test_a_path_is_answered_with_the_data_set_a_folder_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pics").mkdir()
    for name, meant in (("../pics2", "folder:../pics2"), ("pics", "folder:./pics"), ("a/pics", "folder:./a/pics")):
        with pytest.raises(UsageError, match=f"no data set '{name}'; did you mean {meant}, a folder of your own?"):
            open_dataset(name, "")


@pytest.mark.parametrize(
    "name", ["", "folder:a\nb", "folder:a\0b", "folder:a\x7fb", "folder:a\x9bb", "folder:a\udcffb"]
)
def test_a_name_that_no_recipe_can_hold_is_refused_in_one_line(name):
    with pytest.raises(
        UsageError, match="must be the name of a data set, folder:PATH or npz:FILE; no control characters"
    ) as e:
        SETTINGS["dataset"].parse(name)
    assert str(e.value).isprintable()


def test_the_data_home_is_the_flag_then_the_variable_then_the_share(monkeypatch, tmp_path):
    assert data_home("") == tmp_path / "share" / "dptrain"
    monkeypatch.setenv("DPTRAIN_DATA", str(tmp_path / "variable"))
    assert data_home("") == tmp_path / "variable"
    assert data_home("/flag") == Path("/flag")
    monkeypatch.delenv("DPTRAIN_DATA")
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert data_home("") == tmp_path / ".local" / "share" / "dptrain"
    assert data_home("~/d") == tmp_path / "d"


@pytest.mark.parametrize("name", [name for name, known in DATASETS.items() if known.load])
def test_the_descriptor_of_an_embedded_data_set_has_the_figures_of_its_images(name):
    known, dataset = DATASETS[name], open_dataset(name)
    assert known.form == (*dataset.image_shape, len(dataset.classes))
    assert (known.train, known.test) == (dataset.train_labels.size, dataset.test_labels.size)


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("mnist", (28, 28, 1, 10)),
        ("cifar100:coarse", (32, 32, 3, 20)),
        ("sfddd", (48, 64, 3, 10)),
        ("gtsrb:48x40", (48, 40, 3, 43)),
        ("tiny-imagenet", (64, 64, 3, 200)),
    ],
)
def test_the_size_and_the_classes_of_a_data_set_are_known_without_its_files(tmp_path, name, form):
    assert catalog.form_of(name, str(tmp_path / "nowhere")) == form


def test_a_new_descriptor_is_all_that_a_check_before_training_needs(monkeypatch, tmp_path):
    """`experiment` and `describe` build the network for these images before the data set is opened."""
    known = Descriptor(name="stars", about="stars", form=Form(24, 40, 1, 7), train=10, test=5, find=lambda *_: None)
    monkeypatch.setitem(DATASETS, "stars", known)
    assert form_of(DataConfig(dataset="stars", augment=("window:16:32",)), str(tmp_path)) == (16, 32, 1, 7)
    with pytest.raises(DataError, match="stars is not here: run `dptrain data get stars`"):
        open_dataset("stars", str(tmp_path))


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
@pytest.mark.parametrize("folder", ["own", "home"])
def test_idx_sets_are_found_in_their_folder_or_in_the_data_folder_itself(tmp_path, write_idx, packed, name, folder):
    write_idx(tmp_path / name if folder == "own" else tmp_path, packed=packed)
    d = open_dataset(name, str(tmp_path))
    assert d.name == name
    assert d.image_shape == (6, 5, 1)
    assert d.train_labels.tolist() == [i % 10 for i in range(12)]
    assert len(d.test_images) == 5


def test_the_folder_tells_mnist_from_fashion_mnist(tmp_path, write_idx, noise):
    write_idx(tmp_path / "mnist")
    write_idx(tmp_path / "fashion-mnist", packed=False)
    path = tmp_path / "fashion-mnist" / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:16] + noise((360,), 50).tobytes())
    mnist, fashion = (open_dataset(name, str(tmp_path)) for name in ("mnist", "fashion-mnist"))
    np.testing.assert_array_equal(mnist.train_images.reshape(-1), noise((360,), 0))
    np.testing.assert_array_equal(fashion.train_images.reshape(-1), noise((360,), 50))
    assert mnist.classes[0] == "0"
    assert fashion.classes[0] == "T-shirt/top"


def test_debians_fashion_mnist_is_found_without_a_setting(tmp_path, write_idx):
    write_idx(fashion_mnist.DEBIAN)
    assert open_dataset("fashion-mnist", "").name == "fashion-mnist"
    with pytest.raises(DataError):
        open_dataset("mnist", "")


@pytest.mark.parametrize("place", [cifar10.BINARY, cifar10.PYTHON, "."])
def test_cifar_is_found_below_the_data_folder_or_as_it(tmp_path, write_cifar, place):
    write_cifar(tmp_path / place, "py" if place == cifar10.PYTHON else "bin")
    assert open_dataset("cifar10", str(tmp_path)).image_shape == (32, 32, 3)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "cifar10",
            ["`dptrain data get cifar10`", "cifar-10-batches-py or cifar-10-batches-bin into {home}", "--data-dir"],
        ),
        ("mnist", ["`dptrain data get mnist`", "four files *-ubyte or *-ubyte.gz into {home}/mnist"]),
        ("fashion-mnist", ["{home}/fashion-mnist", "apt install dataset-fashion-mnist", "--data-dir"]),
    ],
)
def test_missing_data_names_the_files_the_folders_and_what_to_do(tmp_path, name, words):
    home = tmp_path / "nowhere"
    with pytest.raises(DataError) as e:
        open_dataset(name, str(home))
    assert [w for w in words if w.format(home=home) not in str(e.value)] == []
    assert "\n" not in str(e.value)
    assert len(str(e.value)) < 300
    assert not home.exists(), "nothing is made where nothing is found"


def test_an_incomplete_set_names_what_is_missing(tmp_path, write_idx):
    folder = write_idx(tmp_path / "mnist")
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match=r"mnist: t10k-labels-idx1-ubyte\.gz missing in .*mnist; the data set is"):
        open_dataset("mnist", str(tmp_path))


def test_test_images_under_the_training_images_name_are_refused(tmp_path, write_idx):
    folder = write_idx(tmp_path / "mnist")
    for what in ("images-idx3", "labels-idx1"):
        (folder / f"train-{what}-ubyte.gz").write_bytes((folder / f"t10k-{what}-ubyte.gz").read_bytes())
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz and t10k-\S+\.gz hold the same images"):
        open_dataset("mnist", str(tmp_path))


def test_images_and_labels_of_different_number_are_refused(tmp_path, write_idx):
    folder = write_idx(tmp_path / "mnist", packed=False)
    path = folder / "train-labels-idx1-ubyte"
    path.write_bytes(b"\0\0\x08\x01\0\0\0\x0b" + bytes(11))
    with pytest.raises(DataError, match="mnist: 12 training images, but 11 labels"):
        open_dataset("mnist", str(tmp_path))


def test_the_real_mnist_is_read(shared_data, tmp_path):
    (tmp_path / "mnist").symlink_to(shared_data("mnist"))
    d = open_dataset("mnist", str(tmp_path))
    assert (len(d.train_labels), len(d.test_labels), d.image_shape) == (60_000, 10_000, (28, 28, 1))
    assert d.sha256 == "67f8b46e4af92b111453d7510aaf447b1fd9ec8a9b2fbb05c47a06e7d6c11d67", "runs are named by it"
    assert abs(d.mean[0] / 255 - 0.1307) < 5e-5
    assert abs(d.std[0] / 255 - 0.3081) < 5e-5
