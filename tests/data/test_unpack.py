"""Foreign archives: unpacked completely or not at all, and never outside the folder."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile

import pytest

from dptrain.data import unpack as unpacking
from dptrain.data.unpack import is_archive, unpack
from dptrain.errors import DataError

FILES = {"set/a/1.txt": b"one", "set/b.txt": b"two" * 1000, "set/empty": b""}


def _tar(path, files, members=()):
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for info in members:
            tar.addfile(info)
    return path


def _zip(path, files, links=()):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, content in files.items():
            bundle.writestr(name, content)
        for name in links:
            info = zipfile.ZipInfo(name)
            info.external_attr = (stat.S_IFLNK | 0o777) << 16
            bundle.writestr(info, "/etc/passwd")
    return path


MAKERS = pytest.mark.parametrize("make", [lambda p, f: _tar(p / "x.tar.gz", f), lambda p, f: _zip(p / "x.zip", f)])


def _tree(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@MAKERS
def test_files_come_out_as_they_went_in_and_join_those_there_are(tmp_path, make):
    into = tmp_path / "into"
    (into / "set").mkdir(parents=True)
    (into / "set" / "b.txt").write_text("old")
    (into / "other").write_text("stays")
    assert unpack(make(tmp_path, FILES), into) == 3
    assert _tree(into) == FILES | {"other": b"stays"}


@MAKERS
def test_a_folder_around_everything_is_left_out_on_demand(tmp_path, make):
    unpack(make(tmp_path, FILES), tmp_path / "a", strip=True)
    assert _tree(tmp_path / "a") == {name.removeprefix("set/"): content for name, content in FILES.items()}
    unpack(make(tmp_path, FILES | {"top": b""}), tmp_path / "b", strip=True)
    assert _tree(tmp_path / "b") == FILES | {"top": b""}


@MAKERS
@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "set/../../evil", "C:/evil", "set\\..\\evil"])
def test_a_name_that_leads_elsewhere_is_refused_and_nothing_is_added(tmp_path, make, name):
    with pytest.raises(DataError, match="is outside of the target folder: refused"):
        unpack(make(tmp_path, FILES | {name: b"x"}), tmp_path / "into")
    assert _tree(tmp_path / "into") == {}


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_in_a_tar_are_refused(tmp_path, kind):
    info = tarfile.TarInfo("set/link")
    info.type, info.linkname = kind, "/etc/passwd"
    with pytest.raises(DataError, match="is a link or a device: refused"):
        unpack(_tar(tmp_path / "x.tar.gz", FILES, [info]), tmp_path / "into")
    assert _tree(tmp_path / "into") == {}


def test_links_in_a_zip_are_refused(tmp_path):
    with pytest.raises(DataError, match="is a link: refused"):
        unpack(_zip(tmp_path / "x.zip", FILES, ["set/link"]), tmp_path / "into")
    assert _tree(tmp_path / "into") == {}


@MAKERS
def test_too_many_bytes_or_files_are_refused(tmp_path, make, monkeypatch):
    archive = make(tmp_path, FILES)
    monkeypatch.setattr(unpacking, "_MOST_BYTES", 3002)
    with pytest.raises(DataError, match="more than 3,002 bytes"):
        unpack(archive, tmp_path / "into")
    monkeypatch.setattr(unpacking, "_MOST_BYTES", 3003)
    monkeypatch.setattr(unpacking, "_MOST_FILES", 2)
    with pytest.raises(DataError, match="or 2 files: refused"):
        unpack(archive, tmp_path / "into")
    assert _tree(tmp_path / "into") == {}


def test_a_zip_that_lies_about_its_size_is_refused(tmp_path):
    path = _zip(tmp_path / "x.zip", {"bomb": bytes(1_000_000)})
    raw = path.read_bytes()
    size = (1_000_000).to_bytes(4, "little")
    assert raw.count(size) == 2
    path.write_bytes(raw.replace(size, (10).to_bytes(4, "little")))
    with pytest.raises(DataError):
        unpack(path, tmp_path / "into")
    assert _tree(tmp_path / "into") == {}


@MAKERS
@pytest.mark.parametrize("change", [lambda raw: raw[: len(raw) // 2], lambda _: b"nonsense", lambda _: b""])
def test_a_damaged_archive_is_refused_in_one_line_and_adds_nothing(tmp_path, make, change):
    path = make(tmp_path, FILES | {"noise": bytes(i * i % 251 for i in range(50_000))})
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(DataError) as e:
        unpack(path, tmp_path / "into")
    assert str(path) in str(e.value)
    assert "\n" not in str(e.value)
    assert not (tmp_path / "into").exists()


def test_leftovers_of_a_killed_unpacking_are_removed_by_the_next_one_and_nothing_else(tmp_path):
    into = tmp_path / "into"
    (into / ".unpacking-abc" / "set").mkdir(parents=True)
    (into / ".unpacking-abc" / "set" / "half").write_text("x")
    (into / ".hidden").write_text("mine")
    with pytest.raises(DataError):
        unpack(_tar(tmp_path / "bad.tar.gz", {"../evil": b""}), into)
    assert _tree(into) == {".hidden": b"mine"}
    (into / ".unpacking-def").mkdir()
    unpack(_tar(tmp_path / "x.tar.gz", FILES), into)
    assert _tree(into) == FILES | {".hidden": b"mine"}
    assert not list(into.glob(".unpacking-*"))


def test_a_refused_archive_removes_the_folders_that_were_made_for_it_and_no_other(tmp_path):
    (tmp_path / "there" / "empty").mkdir(parents=True)
    bad = _zip(tmp_path / "bad.zip", {"../evil": b""})
    for into, why in (
        ("there/new/er", "is outside of the target folder"),
        ("there/empty", "is outside of the target folder"),
        ("gone", "is outside of the target folder"),
        (f"new/{'x' * 300}", "x cannot be written: File name too long"),
    ):
        with pytest.raises(DataError, match=why):
            unpack(bad, tmp_path / into)
    assert sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*")) == [
        "bad.zip",
        "there",
        "there/empty",
    ]


def test_archives_are_recognized_by_name(tmp_path):
    assert [is_archive(tmp_path / n) for n in ("a.tar.gz", "a.ZIP", "a.tgz", "a.gz", "a.csv")] == [True] * 3 + [
        False
    ] * 2
