"""Data sets of image files: folders, drivers, Tiny ImageNet, traffic signs; made here in their official layouts."""

from __future__ import annotations

import logging
import os
import re

import numpy as np
import pytest
from PIL import Image

from dptrain.data.catalog import open_dataset
from dptrain.data.dataset import split
from dptrain.data.datasets import gtsrb, sfddd
from dptrain.errors import DataError


def _save(path, colour, size=(8, 6)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


# --- drivers


def _drivers(root, drivers=6, each=3, table=True, folder="train"):
    """Driver d's photographs have red = 20 d; class k has blue = 20 k."""
    lines = ["subject,classname,img"]
    for d in range(drivers):
        for k in range(10):
            for i in range(each):
                name = f"img_{d}{k}{i}.jpg"
                _save(root / folder / f"c{k}" / name, (20 * d, 128, 20 * k), (64, 48))
                lines.append(f"p{d:03d},c{k},{name}")
    if table:
        (root / "driver_imgs_list.csv").write_text("\n".join(lines) + "\n")
    return root


def _seen(images):
    return set(np.rint(images[:, 2, 3, 0] / 20).astype(int).tolist())


def test_drivers_are_split_from_one_another_in_test_and_in_validation(tmp_path, caplog):
    _drivers(tmp_path / "sfddd", drivers=8)
    d = open_dataset("sfddd:12x16", str(tmp_path))
    assert (d.name, d.image_shape, d.classes) == ("sfddd-12x16", (12, 16, 3), sfddd.CLASSES)
    parts = split(d, -1)
    groups = [_seen(x) for x in (d.train_images[parts.train], d.train_images[parts.validation], d.test_images)]
    assert [len(g) for g in groups] == [6, 1, 1]
    assert set.union(*groups) == set(range(8))
    np.testing.assert_array_equal(np.rint(d.test_images[:, 2, 3, 2] / 20).astype(int), d.test_labels)
    assert caplog.text == ""
    again = open_dataset("sfddd:12x16", str(tmp_path))  # from the cache
    np.testing.assert_array_equal(split(again, -1).validation, parts.validation)


def test_without_the_table_the_split_is_random_and_warned_about(tmp_path, caplog):
    _drivers(tmp_path / "sfddd", table=False, folder="imgs/train")
    with caplog.at_level(logging.WARNING):
        d = open_dataset("sfddd", str(tmp_path))
    assert d.image_shape == (48, 64, 3)
    assert d.test_labels.size == 18
    assert d.train_groups is None
    assert len(_seen(d.test_images) & _seen(d.train_images)) > 1
    assert "there is no driver_imgs_list.csv, so the photographs are split at random" in caplog.text


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("subject,classname,img\np001,c0,img_000.jpg\n", "does not say who drives in c0/img_001.jpg"),
        ("subject,class,img\n", "no column classname in its first line"),
        ("subject,classname,img\np001,c0\n", "line 2: 2 fields, 3 in the header"),
        ("p001,c0,img_000.jpg\n", "no column subject, classname, img in its first line 'p001,c0,img_000.jpg'"),
        ("img,img,subject,classname\n", "names the column img twice"),
        ("", "no column subject, classname, img"),
        ('subject,classname,img\n"p001,c0,img', "line"),
    ],
)
def test_a_wrong_table_of_drivers_is_refused(tmp_path, table, words):
    _drivers(tmp_path / "sfddd", drivers=2)
    (tmp_path / "sfddd" / "driver_imgs_list.csv").write_text(table)
    with pytest.raises(DataError) as e:
        open_dataset("sfddd", str(tmp_path))
    assert words in str(e.value)


@pytest.mark.parametrize(
    "changed",
    [
        lambda text: "\ufeff" + text,
        lambda text: text.replace(",", ";"),
        lambda text: re.sub(r"^(p\d+)", r'"\1"', text, flags=re.MULTILINE),
        lambda text: text.replace("\n", "\r\n") + "\r\n\r\n",
        lambda text: "\n".join(",".join(line.split(",")[::-1]) for line in text.splitlines()),
    ],
    ids=["byte order mark", "semicolons", "quotes", "empty last lines", "another order of columns"],
)
def test_a_table_of_drivers_is_read_as_spreadsheets_write_it(tmp_path, changed):
    _drivers(tmp_path / "sfddd", drivers=2)
    plain = open_dataset("sfddd:12x16", str(tmp_path))
    table = tmp_path / "sfddd" / "driver_imgs_list.csv"
    table.write_bytes(changed(table.read_text()).encode())
    np.testing.assert_array_equal(open_dataset("sfddd:12x16", str(tmp_path)).train_groups, plain.train_groups)


def test_one_driver_alone_cannot_be_split(tmp_path):
    _drivers(tmp_path / "sfddd", drivers=1)
    with pytest.raises(DataError, match="too few"):
        open_dataset("sfddd", str(tmp_path))


# --- Tiny ImageNet


def _tiny(root):
    (root / "val" / "images").mkdir(parents=True)
    (root / "wnids.txt").write_text("n02\nn01\n")
    (root / "words.txt").write_text("n01\tgoldfish, Carassius\nn02\tox\nn03\tnobody\n")
    for label, name in enumerate(("n02", "n01")):
        for i in range(3):
            _save(root / "train" / name / "images" / f"{name}_{i}.JPEG", (100 * label, 9, 9), (64, 64))
    Image.new("L", (64, 64), 100).save(root / "train" / "n01" / "images" / "n01_9.JPEG")
    lines = []
    for i in range(2):
        _save(root / "val" / "images" / f"val_{i}.JPEG", (0, 200, 0), (64, 64))
        lines.append(f"val_{i}.JPEG\tn0{2 - i}\t0\t0\t62\t62")
    (root / "val" / "val_annotations.txt").write_text("\n".join(lines) + "\n")
    return root


def test_another_label_in_the_table_of_tiny_imagenet_is_noticed(tmp_path):
    root = _tiny(tmp_path / "tiny-imagenet-200")
    assert open_dataset("tiny-imagenet", str(tmp_path)).test_labels.tolist() == [0, 1]
    table = root / "val" / "val_annotations.txt"
    table.write_text(table.read_text().replace("n01", "n02"))
    assert open_dataset("tiny-imagenet", str(tmp_path)).test_labels.tolist() == [0, 0]


def test_tiny_imagenet_is_read_in_the_order_of_its_list(tmp_path):
    _tiny(tmp_path / "tiny-imagenet-200")
    d = open_dataset("tiny-imagenet", str(tmp_path))
    assert (d.classes, d.image_shape) == (("ox", "goldfish"), (64, 64, 3))
    assert d.train_labels.tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert d.test_labels.tolist() == [0, 1]
    assert np.abs(d.train_images[6].astype(int) - 100).max() <= 2, "a grey one is spread over three channels"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda r: (r / "wnids.txt").write_text("n01 n01"), "does not hold the names of two or more classes"),
        (lambda r: (r / "wnids.txt").write_text("../a n01"), "does not hold the names of two or more classes"),
        (
            lambda r: (r / "val/val_annotations.txt").write_text("a.JPEG\tn99\n"),
            "line 1: 'a.JPEG\\tn99' is not",
        ),
        (
            lambda r: (r / "val/val_annotations.txt").write_text("../../x\tn01\n"),
            "not a file name and one of the 2 classes",
        ),
        (lambda r: (r / "val/val_annotations.txt").unlink(), "val_annotations.txt cannot be read"),
        (lambda r: (r / "val/images/val_1.JPEG").unlink(), "val_1.JPEG missing in"),
    ],
)
def test_a_damaged_tiny_imagenet_is_refused(tmp_path, change, words):
    change(_tiny(tmp_path / "tiny-imagenet-200"))
    with pytest.raises(DataError) as e:
        open_dataset("tiny-imagenet", str(tmp_path))
    assert words in str(e.value)


# --- traffic signs

_HEADER = "Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId\n"


def _signs(root, train="GTSRB/Training"):
    for label in range(43):
        folder = root / train / f"{label:05d}"
        rows = []
        for track in range(2):
            for i in range(2):
                pixels = np.zeros((20, 24, 3), np.uint8)
                pixels[3:18, 4:21] = (5 * label, 50 * track, 100)
                folder.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(folder / f"{track:05d}_{i:05d}.ppm")
                rows.append(f"{track:05d}_{i:05d}.ppm;24;20;4;3;20;17;{label}\n")
        (folder / f"GT-{label:05d}.csv").write_text(_HEADER + "".join(rows))
    images = root / "GTSRB" / "Final_Test" / "Images"
    rows = []
    for i in range(5):
        _save(images / f"{i:05d}.ppm", (7, 8, 9), (30, 30))
        rows.append(f"{i:05d}.ppm;30;30;0;0;29;29;{i * 10}\n")
    (root / "GT-final_test.csv").write_text(_HEADER + "".join(rows))
    return root


@pytest.mark.parametrize("train", ["GTSRB/Training", "GTSRB/Final_Training/Images"])
def test_signs_of_all_43_classes_are_cut_to_their_regions_and_the_official_test_set_is_used(tmp_path, train):
    _signs(tmp_path / "gtsrb", train)
    d = open_dataset("gtsrb", str(tmp_path))
    assert len(d.classes) == len(set(d.classes)) == 43
    assert d.image_shape == (32, 32, 3)
    assert d.train_labels.tolist() == [label for label in range(43) for _ in range(4)]
    assert d.test_labels.tolist() == [0, 10, 20, 30, 40]
    assert (d.train_images[4 * 30 + 2] == (150, 50, 100)).all(), "nothing of the black frame"
    assert d.classes[14] == "stop"


def test_another_picture_of_a_sign_of_the_same_size_and_time_is_noticed(tmp_path):
    _signs(tmp_path / "gtsrb")
    before = open_dataset("gtsrb", str(tmp_path)).sha256
    path = tmp_path / "gtsrb" / "GTSRB" / "Training" / "00007" / "00001_00001.ppm"
    times = path.stat()
    path.write_bytes(path.read_bytes()[:-900] + bytes(900))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert open_dataset("gtsrb", str(tmp_path)).sha256 != before


def test_pictures_of_one_sign_are_never_both_trained_and_validated_on(tmp_path):
    _signs(tmp_path / "gtsrb")
    d = open_dataset("gtsrb", str(tmp_path))
    parts = split(d, -1)
    tracks = [set(d.train_groups[ids].tolist()) for ids in (parts.train, parts.validation)]
    assert len(set(d.train_groups.tolist())) == 86
    assert not tracks[0] & tracks[1]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("00000_00000.ppm;24;20;4;3;200;17;0", "its region (4, 3, 201, 18) is outside"),
        ("00000_00000.ppm;24;20;4;3;20;17;3", "has a row of another class than 0"),
        ("00000_00000.ppm;24;20;4;3;20;17;43", "line 2: '43' is no whole number in 0 ... 42"),
        ("00000_00000.ppm;24;20;-4;3;20;17;0", "line 2: '-4' is no whole number"),
        ("../x.ppm;24;20;4;3;20;17;0", "line 2: '../x.ppm' is no file name"),
        ("a_1.ppm;24;20;4;3;20;17;0", "its name does not begin with a track number"),
        ("00000_00009.ppm;24;20;4;3;20;17;0", "gtsrb: 00000_00009.ppm missing in"),
    ],
)
def test_a_wrong_row_of_signs_is_refused(tmp_path, row, words):
    _signs(tmp_path / "gtsrb")
    table = tmp_path / "gtsrb" / "GTSRB" / "Training" / "00000" / "GT-00000.csv"
    table.write_text(_HEADER + row + "\n")
    with pytest.raises(DataError) as e:
        open_dataset("gtsrb", str(tmp_path))
    assert words in str(e.value)


def test_a_missing_test_table_is_reported(tmp_path):
    _signs(tmp_path / "gtsrb")
    (tmp_path / "gtsrb" / gtsrb.TEST_TABLE).unlink()
    with pytest.raises(DataError, match=r"gtsrb: GT-final_test\.csv missing in"):
        open_dataset("gtsrb", str(tmp_path))
