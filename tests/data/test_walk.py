"""Folders of pictures: which files are used, what is left out and named, and how folders become classes."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from dptrain.data.catalog import open_dataset
from dptrain.data.dataset import warn_once
from dptrain.data.walk import walk
from dptrain.errors import DataError


def _save(path, colour=(9, 9, 9), form="PNG"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (6, 6), colour).save(path, form)


@pytest.fixture
def pets(tmp_path):
    """Two classes of ten pictures each."""
    for label, name in enumerate(("cat", "dog")):
        for i in range(10):
            _save(tmp_path / "pets" / name / f"{i}.png", (100 * label, 10 * i, 0))
    return tmp_path / "pets"


@pytest.fixture
def opened(pets, caplog):
    """A function () -> the number of pictures of the folder, and the warning about files that are left out."""

    def count():
        warn_once.cache_clear()
        caplog.clear()
        found = open_dataset(f"folder:{pets}:6x6", str(pets.parent / "home"))
        said = [text for text in caplog.messages if "left out" in text]
        return found.train_labels.size + found.test_labels.size, (said[0] if said else "")

    return count


def test_pictures_are_found_by_content_and_in_folders_of_a_class(pets, opened):
    _save(pets / "cat" / "deep" / "er" / "1.png")
    _save(pets / "cat" / "photo.jfif", form="JPEG")
    _save(pets / "dog" / "no_suffix", form="WEBP")
    _save(pets / "dog" / "scan.PNM", form="PPM")
    assert opened() == (24, "")


def test_what_is_left_out_is_counted_by_reason_and_named(pets, opened):
    (pets / "cat" / "notes.txt").write_text("BM is a car maker, P1 is a car")
    (pets / "cat" / "list.csv").write_text("P1 is no portable bitmap")
    (pets / "dog" / "phone.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    Image.new("RGB", (6, 6)).save(pets / "dog" / "raw.dng", "TIFF")
    _save(pets / "preview.png")
    for name in (".hidden.png", "._1.png", "Thumbs.db", "@eaDir/1.png", "__MACOSX/1.png"):
        _save(pets / "dog" / name)
    count, said = opened()
    assert count == 20
    assert said.startswith(f"{pets}: 20 pictures are used; left out: ")
    for words in (
        "2 no pictures (first: cat/list.csv)",
        "1 HEIC files, which are not read (first: dog/phone.HEIC)",
        "1 camera files, which are not read (first: dog/raw.dng)",
        "1 pictures in no folder of a class (first: preview.png)",
        "5 hidden, or made by a program (first: dog/._1.png)",
    ):
        assert words in said


def test_links_to_pictures_and_to_folders_are_followed_and_circles_end(pets, opened):
    (pets.parent / "elsewhere").mkdir()
    (pets / "dog").rename(pets.parent / "elsewhere" / "dogs")
    (pets / "dog").symlink_to("../elsewhere/dogs")
    (pets / "cat" / "more.png").symlink_to("0.png")
    (pets / "cat" / "back").symlink_to("..")
    (pets / "cat" / "itself").symlink_to("itself")
    count, said = opened()
    assert count == 21
    assert "1 links to a folder above (first: cat/back)" in said
    assert "1 no files, or links to nothing (first: cat/itself)" in said


def test_predict_and_train_walk_the_same_way(pets):
    (pets / "cat" / "more").symlink_to("../dog")
    _save(pets / "cat" / "no_suffix")
    assert [str(p.relative_to(pets)) for p in walk(pets / "cat").pictures] == [
        *(f"cat/{i}.png" for i in range(10)),
        *(f"cat/more/{i}.png" for i in range(10)),
        "cat/no_suffix",
    ]


@pytest.mark.parametrize("name", [".ipynb_checkpoints", "__MACOSX", "@eaDir", "lost+found", ".git", ".Trash-1000"])
def test_folders_that_programs_make_are_no_classes(pets, opened, name):
    _save(pets / name / "1.png")
    count, said = opened()
    assert count == 20
    assert f"1 hidden, or made by a program (first: {name})" in said


def test_runs_in_the_folder_of_the_pictures_are_no_class(pets, opened):
    alone = opened()
    for run in ("runs/a", "runs/b"):
        _save(pets / run / "confusion.png")
        for file in ("config.toml", "run.json"):
            (pets / run / file).write_text("")
    (pets / "runs" / "latest").symlink_to("b")
    count, said = opened()
    assert (count, alone) == (20, (20, ""))
    assert "1 run directories (first: runs)" in said


@pytest.mark.parametrize("other", [("bus", "car"), ("test", "bus"), ("val", "car", "test")])
def test_a_folder_train_that_holds_pictures_is_a_class_beside_other_classes(tmp_path, other):
    for name in ("train", *other):
        for i in range(6):
            _save(tmp_path / "home" / "ways" / name / f"{i}.png", (len(name), i, 0))
    assert open_dataset("folder:ways:6x6", str(tmp_path / "home")).classes == tuple(sorted(("train", *other)))


@pytest.mark.parametrize("names", [("train", "test"), ("Training", "val"), ("TRAIN", "TEST")])
def test_a_split_is_recognised_in_any_case(tmp_path, names):
    for part in names:
        for name in ("a", "b"):
            _save(tmp_path / "home" / "x" / part / name / "1.png", (len(part), 0, 0))
    found = open_dataset("folder:x:6x6", str(tmp_path / "home"))
    assert (found.classes, found.train_labels.size, found.test_labels.size) == (("a", "b"), 2, 2)


def test_a_third_part_of_a_split_is_left_out_and_named(tmp_path, caplog):
    for part in ("train", "test", "val"):
        for name in ("a", "b"):
            _save(tmp_path / "home" / "x" / part / name / "1.png", (len(part), 0, 0))
    open_dataset("folder:x:6x6", str(tmp_path / "home"))
    assert "1 folders beside train and test (first: val)" in caplog.text


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (["train/1.png", "test/1.png"], "train holds 0 folder(s)"),
        (
            ["training_set/a/1.png", "training_set/b/1.png", "test_set/a/1.png", "test_set/b/1.png"],
            "call it train or test",
        ),
        (["top/a/1.png", "top/b/1.png"], "top/a and b the classes? Then name that folder"),
        (["a/1.png", "b/notes.txt"], "b holds no image file: notes.txt is left out (no pictures)"),
        (["a/1.png", os.fsdecode(b"b\xff/1.png")], "the name of a class must be UTF-8 text in one line"),
        (["a/1.png", "b\nc/1.png"], "the name of a class must be UTF-8 text in one line"),
    ],
)
def test_folders_that_are_probably_meant_otherwise_are_refused_in_one_line(tmp_path, files, words):
    for file in files:
        path = tmp_path / "x" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".png":
            _save(path)
        else:
            path.write_text("text")
    with pytest.raises(DataError) as e:
        open_dataset(f"folder:{tmp_path / 'x'}:6x6", str(tmp_path / "home"))
    assert words in str(e.value)
    assert str(e.value).isprintable()


def test_a_class_of_one_picture_many_times_is_warned_about(pets, caplog):
    for i in range(10):
        Image.new("RGBA", (6, 6), (i, i, i, 0)).save(pets / "dog" / f"{i}.png")
    open_dataset(f"folder:{pets}:6x6", str(pets.parent / "home"))
    assert "all images of 'dog' are the same picture" in caplog.text
    caplog.clear()
    open_dataset(f"folder:{pets}:6x6:77", str(pets.parent / "home"))
    assert "'dog'" in caplog.text


def test_the_ground_of_transparent_pictures_follows_the_size(pets):
    Image.new("RGBA", (6, 6), (0, 0, 0, 0)).save(pets / "dog" / "0.png")
    pixels = [
        int(open_dataset(f"folder:{pets}:6x6x1{fill}", str(pets.parent / "home")).train_images.max())
        for fill in ("", ":0", ":130")
    ]
    assert pixels[0] == 255
    assert pixels[2] == 130
    assert pixels[1] < 130


@pytest.mark.parametrize("form", ["BMP", "PPM"])
def test_other_pictures_of_the_same_size_and_time_are_noticed(pets, form):
    path = pets / "dog" / "5.png"
    _save(path, (1, 2, 3), form)
    before = open_dataset(f"folder:{pets}:6x6", str(pets.parent / "home"))
    times = path.stat()
    _save(path, (3, 2, 1), form)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # as cp -p, tar and rsync leave it
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (times.st_size, times.st_mtime_ns)
    assert open_dataset(f"folder:{pets}:6x6", str(pets.parent / "home")).sha256 != before.sha256


def test_other_pictures_are_noticed_by_their_times_and_inodes_where_they_are_too_many_to_read(pets, monkeypatch):
    monkeypatch.setattr("dptrain.data.catalog._FEW_BYTES", 0)
    before = open_dataset(f"folder:{pets}:6x6", str(pets.parent / "home")).sha256
    first, second = pets / "dog" / "5.bmp", pets / "dog" / "6.bmp"
    for path, colour in ((first, (1, 2, 3)), (second, (3, 2, 1))):
        _save(path, colour, "BMP")
        os.utime(path, ns=(10**18, 10**18))
    seen = open_dataset(f"folder:{pets}:6x6", str(pets.parent / "home")).sha256
    first.rename(Path(f"{first}.old"))
    second.rename(first)
    Path(f"{first}.old").rename(second)
    assert len({before, seen, open_dataset(f"folder:{pets}:6x6", str(pets.parent / "home")).sha256}) == 3


def test_other_pictures_are_noticed_by_their_content_where_a_file_system_has_coarse_times(pets, monkeypatch):
    def coarse(path):
        return SimpleNamespace(st_size=path.stat().st_size, st_mtime_ns=0, st_ctime_ns=0, st_ino=0)

    path = pets / "dog" / "5.bmp"
    _save(path, (1, 2, 3), "BMP")
    before = open_dataset(f"folder:{pets}:6x6", str(pets.parent / "home")).sha256
    monkeypatch.setattr("dptrain.data.catalog._stat", coarse)
    first = open_dataset(f"folder:{pets}:6x6", str(pets.parent / "home")).sha256
    _save(path, (3, 2, 1), "BMP")
    assert first == before != open_dataset(f"folder:{pets}:6x6", str(pets.parent / "home")).sha256
