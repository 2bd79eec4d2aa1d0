"""`dptrain data add`: archives and files that a user has downloaded."""

from __future__ import annotations

import io
import zipfile

import pytest
from PIL import Image

from dptrain.cli import main

CONFIGURATION = 78


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


def _one_line(err):
    return err.startswith("dptrain: error: ") and err.count("\n") == 1


def _left(home):
    """What an addition has left, apart from the lock."""
    return sorted(p.relative_to(home).as_posix() for p in home.rglob("*") if p.name not in ("downloads", ".lock"))


def test_an_archive_of_the_users_images_becomes_a_data_set(home, tmp_path, capsys):
    with zipfile.ZipFile(tmp_path / "pets.zip", "w") as bundle:
        for name in ("train/cat/1.png", "train/dog/1.png", "test/cat/1.png", "test/dog/1.png"):
            raw = io.BytesIO()
            Image.new("RGB", (9, 9), (len(name), 7, 7)).save(raw, "PNG")
            bundle.writestr(f"pets-master/{name}", raw.getvalue())
    assert main(["data", "add", "folder:pets:8x8", str(tmp_path / "pets.zip"), "--data-dir", str(home)]) == 0
    assert "folder:pets:8x8: complete" in capsys.readouterr().out
    assert (home / "pets" / "train" / "cat" / "1.png").is_file()
    (home / "notes" / "a").mkdir(parents=True)
    (home / "notes" / "b").mkdir()
    assert main(["data", "list", "--data-dir", str(home)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("  folder:")][:-1] == [
        f"  folder:pets    2 classes, in {home / 'pets'}"
    ]


@pytest.mark.parametrize("top", ["pets/", ""])
def test_an_archive_that_macos_made_is_unpacked_without_what_macos_adds(home, tmp_path, capsys, caplog, top):
    with zipfile.ZipFile(tmp_path / "pets.zip", "w") as bundle:
        for name in ("cat/1.png", "dog/1.png", "cat/2.png", "dog/2.png"):
            raw = io.BytesIO()
            Image.new("RGB", (9, 9), (len(name), 7, 7)).save(raw, "PNG")
            bundle.writestr(f"{top}{name}", raw.getvalue())
            bundle.writestr(f"__MACOSX/{top}{name.replace('/', '/._')}", b"\0\5\x16\7")
        bundle.writestr(f"{top}.DS_Store", b"\0\0\0\1Bud1")
    assert main(["data", "add", "folder:pets:8x8", str(tmp_path / "pets.zip"), "--data-dir", str(home)]) == 0
    assert "folder:pets:8x8: complete" in capsys.readouterr().out
    assert sorted(p.name for p in (home / "pets").iterdir()) == ["cat", "dog"]
    assert "5 files are left out: hidden, or made by a program (first: __MACOSX/" in caplog.text


def test_an_archive_that_is_no_data_set_is_an_error(home, tmp_path, capsys):
    with zipfile.ZipFile(tmp_path / "texts.zip", "w") as bundle:
        bundle.writestr("a/1.txt", "text")
    assert main(["data", "add", "folder:texts", str(tmp_path / "texts.zip"), "--data-dir", str(home)]) == CONFIGURATION
    assert "1 file(s) added, but it cannot be used: " in capsys.readouterr().err


def test_leftovers_of_a_killed_add_in_any_folder_are_removed_by_the_next_one(home, tmp_path):
    for place in ("", "sfddd/", "pets/"):
        (home / f"{place}.unpacking-abc" / "set").mkdir(parents=True)
    (tmp_path / "driver_imgs_list.csv").write_text("subject,classname,img\n")
    assert main(["data", "add", "sfddd", str(tmp_path / "driver_imgs_list.csv"), "--data-dir", str(home)]) == 0
    assert _left(home) == ["pets", "sfddd", "sfddd/driver_imgs_list.csv"]


@pytest.mark.parametrize(
    ("name", "file", "inside", "words"),
    [
        ("sfddd", "big.zip", ["cat/1.png", "c0/1.jpg"], "imgs/train/c[0-9]/*, train/c[0-9]/*, driver_imgs_list.csv"),
        ("sfddd", "photo.jpg", None, "photo.jpg is no file of sfddd: "),
        (
            "mnist-kaggle",
            "huge.csv",
            None,
            "huge.csv is no file of mnist-kaggle: allowed are train.csv, by these names",
        ),
        (
            "mnist-kaggle",
            "test.zip",
            ["test.csv", "x/train.csv"],
            "test.zip holds no file of mnist-kaggle: allowed are",
        ),
    ],
)
def test_a_file_that_is_none_of_the_sets_is_refused_by_name_and_nothing_is_kept(
    name, file, inside, words, home, tmp_path, capsys
):
    path = tmp_path / file
    path.write_bytes(b"nothing of the kind")
    if inside:
        with zipfile.ZipFile(path, "w") as bundle:
            for member in inside:
                bundle.writestr(member, "x")
    assert main(["data", "add", name, str(path), "--data-dir", str(home)]) == CONFIGURATION
    out, err = capsys.readouterr()
    assert _one_line(err), err
    assert words in err
    assert (out, _left(home)) == ("", [])


def test_kaggles_archives_are_taken_with_whatever_else_is_in_them(home, tmp_path, capsys):
    for name, members in (("mnist-kaggle", ["train.csv", "test.csv"]), ("sfddd", ["imgs/train/c0/1.jpg", "a/b.csv"])):
        with zipfile.ZipFile(tmp_path / "any.zip", "w") as bundle:
            for member in members:
                bundle.writestr(member, "x")
        assert main(["data", "add", name, str(tmp_path / "any.zip"), "--data-dir", str(home)]) == 0
        assert "not complete yet" in capsys.readouterr().out
        assert all((home / name / member).is_file() for member in members)


def test_an_archive_is_added_to_a_folder_with_any_name(home, tmp_path, capsys):
    with zipfile.ZipFile(tmp_path / "pets.zip", "w") as bundle:
        for name in ("train/cat/1.png", "train/dog/1.png", "test/cat/1.png", "test/dog/1.png"):
            raw = io.BytesIO()
            Image.new("RGB", (9, 9), (len(name), 7, 7)).save(raw, "PNG")
            bundle.writestr(name, raw.getvalue())
    assert (
        main(["data", "add", "folder:my pets, [day:1a]:8x8", str(tmp_path / "pets.zip"), "--data-dir", str(home)]) == 0
    )
    assert "folder:my pets, [day:1a]:8x8: complete" in capsys.readouterr().out
    assert (home / "my pets, [day:1a]" / "train" / "cat" / "1.png").is_file()


def test_a_file_that_cannot_be_put_in_its_place_leaves_no_copy(home, tmp_path, capsys):
    (home / "mnist-kaggle" / "train.csv").mkdir(parents=True)
    (tmp_path / "train.csv").write_text("label,pixel0\n")
    assert main(["data", "add", "mnist-kaggle", str(tmp_path / "train.csv"), "--data-dir", str(home)]) == CONFIGURATION
    assert "cannot be copied" in capsys.readouterr().err
    assert _left(home) == ["mnist-kaggle", "mnist-kaggle/train.csv"]
