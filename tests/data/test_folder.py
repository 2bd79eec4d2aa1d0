"""folder:PATH: a folder per class becomes a data set; impossible names and folders are refused. Walk: test_walk.py."""

from __future__ import annotations

import logging

import pytest
from PIL import Image

from dptrain.data.catalog import open_dataset
from dptrain.errors import DataError, UsageError
from dptrain.recipefile import from_toml, to_toml
from dptrain.settings import SETTINGS, build


def _save(path, colour, size=(8, 6)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


def _classes(root, counts=(("cat", 12), ("dog", 14)), suffix=".png"):
    for label, (name, n) in enumerate(counts):
        for i in range(n):
            _save(root / name / f"{i:02d}{suffix}", (100 * label, i, 0))
    return root


def test_a_folder_with_train_and_test_is_read_as_it_is(tmp_path):
    _classes(tmp_path / "pets" / "train")
    _classes(tmp_path / "pets" / "val", (("cat", 2), ("dog", 3)))
    (tmp_path / "pets" / "train" / "readme.txt").write_text("")
    d = open_dataset("folder:pets:6x8", str(tmp_path))
    assert (d.name, d.classes, d.image_shape) == ("pets-6x8x3", ("cat", "dog"), (6, 8, 3))
    assert d.train_labels.tolist() == [0] * 12 + [1] * 14
    assert d.test_labels.tolist() == [0, 0, 1, 1, 1]
    assert d.train_images[:, 0, 0, 1].tolist() == [*range(12), *range(14)]


def test_a_folder_of_classes_holds_a_tenth_out_and_says_so(tmp_path, caplog):
    _classes(tmp_path / "pets")
    with caplog.at_level(logging.WARNING):
        d = open_dataset(f"folder:{tmp_path / 'pets'}:4x4x1", str(tmp_path / "home"))
    assert (d.image_shape, d.train_labels.size, d.test_labels.size) == ((4, 4, 1), 23, 3)
    assert "no test set: a random tenth (3 images) is held out" in caplog.text
    again = open_dataset(f"folder:{tmp_path / 'pets'}:4x4x1", str(tmp_path / "elsewhere"))
    assert again.sha256 == d.sha256


def test_a_class_that_the_held_out_tenth_lacks_is_named(tmp_path, caplog):
    _classes(tmp_path / "pets", (("cat", 20), ("cow", 2), ("dog", 20)))
    d = open_dataset("folder:pets:4x4x1", str(tmp_path))
    assert set(d.test_labels.tolist()) == {0, 2}
    assert caplog.messages[1:] == [
        "pets-4x4x1: the test set (5 images) has none of 'cow': its accuracy says nothing about them; "
        "give more images, or your own test set"
    ]


def test_a_class_of_which_the_held_out_tenth_leaves_none_to_train_on_is_named(tmp_path, caplog):
    _classes(tmp_path / "pets", (("cat", 6), ("cow", 1), ("dog", 3)))
    d = open_dataset("folder:pets:4x4x1", str(tmp_path))
    assert d.test_labels.tolist() == [1]
    assert [message.partition(";")[0] for message in caplog.messages[1:]] == [
        "pets-4x4x1: the test set (1 image) has none of 'cat', 'dog': its accuracy says nothing about them",
        "pets-4x4x1: the training set (9 images) has none of 'cow': they cannot be learned",
    ]


@pytest.mark.parametrize(
    "folder",
    [
        "sp ace",
        "umläut",
        "a,b",
        "br[ack]et",
        "what?*",
        'it\'s "q"',
        "day:night",
        "12:30",
        "1x2:64x64",
        "日本",
        "#$%&;=@",
    ],
)
def test_a_folder_may_have_any_name_that_a_recipe_can_hold(tmp_path, folder):
    _classes(tmp_path / folder / "train")
    _classes(tmp_path / folder / "test")
    name = f"folder:./{folder}:4x4x1"
    assert build(from_toml(to_toml(build({"dataset": SETTINGS["dataset"].parse(name)})))).data.dataset == name
    for path in (folder, tmp_path / folder):
        assert open_dataset(f"folder:{path}:4x4x1", str(tmp_path)).image_shape == (4, 4, 1)


def test_a_colon_in_a_path_needs_no_size_behind_it_unless_it_looks_like_one(tmp_path):
    _classes(tmp_path / "day:night" / "train")
    _classes(tmp_path / "day:night" / "test")
    assert open_dataset("folder:day:night", str(tmp_path)).image_shape == (32, 32, 3)


def test_sizes_of_the_same_folder_are_kept_apart(tmp_path):
    _classes(tmp_path / "pets" / "train")
    _classes(tmp_path / "pets" / "test")
    shapes = [open_dataset(f"folder:pets{size}", str(tmp_path)).image_shape for size in ("", ":6x8", "", ":6x8x1")]
    assert shapes == [(32, 32, 3), (6, 8, 3), (32, 32, 3), (6, 8, 1)]


def test_a_folder_of_the_working_directory_is_pointed_at(tmp_path, monkeypatch):
    _classes(tmp_path / "here" / "pets")
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(DataError, match=r"no folder .*home/pets; the one in this directory is folder:\./pets;"):
        open_dataset("folder:pets", str(tmp_path / "home"))


def test_a_broken_link_among_the_pictures_is_named_with_its_target(tmp_path):
    _classes(tmp_path / "pets")
    (tmp_path / "pets" / "dog" / "99.png").symlink_to("../gone.png")
    with pytest.raises(DataError) as e:
        open_dataset("folder:pets", str(tmp_path))
    path = tmp_path / "pets" / "dog" / "99.png"
    assert str(e.value) == (
        f"{path} cannot be read: No such file or directory (it is a link to ../gone.png): remove or repair it"
    )


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("folder", UsageError, "write folder:PATH"),
        ("folder:", UsageError, "write folder:PATH"),
        ("folder:gone", DataError, "there is no folder"),
        ("folder:one", DataError, "one holds 1 folder(s)"),
        ("folder:pets:6", UsageError, "must be HEIGHTxWIDTH"),
        ("folder:pets:6x8x2", UsageError, "channels are 1 or 3"),
        ("folder:pets:6x2000", UsageError, "sides go up to 1024"),
        ("folder:pets:6x8:900", UsageError, "FILL, what transparent pictures are laid on, is 0 (black) to 255"),
        ("folder:pets:6X8", UsageError, "data set folder:pets:6X8: what follows must be HEIGHTxWIDTH"),
        ("folder::6x8", UsageError, "write folder:PATH"),
        ("folder:~no-such-user/pets", UsageError, "no such user; a folder of that name is folder:./~no-such-user"),
        ("folder:" + "x" * 300, DataError, "cannot be read: File name too long"),
        ("folder:hollow", DataError, "b holds no image file"),
        ("folder:odd", DataError, "has a class 'cow', which"),
        ("cifar10:64x64", UsageError, "cifar10 has no option '64x64'; only cifar100, sfddd, gtsrb have one"),
        ("cifar100:medium", UsageError, "write cifar100:fine (100 classes) or cifar100:coarse (20 classes)"),
        ("sfddd:64", UsageError, "data set sfddd:64: what follows must be HEIGHTxWIDTH"),
        ("sfddd:64x64x1", UsageError, "HEIGHTxWIDTH"),
    ],
)
def test_an_impossible_folder_or_option_is_refused(tmp_path, name, error, words):
    _classes(tmp_path / "pets")
    _save(tmp_path / "one" / "a" / "1.png", (0, 0, 0))
    _save(tmp_path / "hollow" / "a" / "1.png", (0, 0, 0))
    (tmp_path / "hollow" / "b").mkdir()
    _classes(tmp_path / "odd" / "train")
    _classes(tmp_path / "odd" / "test", (("cow", 1),))
    with pytest.raises(error) as e:
        open_dataset(name, str(tmp_path))
    assert words in str(e.value)
    assert "\n" not in str(e.value)
