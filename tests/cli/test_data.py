"""`dptrain data`: list, get, add, preview. The server is that of the standard library; it serves a folder made here."""

from __future__ import annotations

import functools
import gzip
import hashlib
import http.server
import io
import socket
import struct
import tarfile
import threading
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from dptrain.cli import main
from dptrain.data import catalog, install
from dptrain.data.datasets import DATASETS, fashion_mnist
from dptrain.data.descriptor import Source
from dptrain.data.fetch import Watcher

CONFIGURATION = 78
IDX = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def _idx(name, n):
    shape = (n, 6, 5) if "images" in name else (n,)
    values = (np.arange(np.prod(shape)) * 7 % (256 if len(shape) > 1 else 10)).astype(np.uint8)
    return struct.pack(f">HBB{len(shape)}I", 0, 8, len(shape), *shape) + values.tobytes()


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A folder with the four files of a small MNIST, whose digests the catalogue now knows; and its address."""
    folder = tmp_path / "served"
    folder.mkdir()
    needed = []
    for name in IDX:
        raw = _idx(name, 12 if "train" in name else 5)
        (folder / f"{name}.gz").write_bytes(gzip.compress(raw, 1))
        needed.append(Source(f"{name}.gz", f"sha256:{hashlib.sha256(raw).hexdigest()}", ("http://127.0.0.1:9/",)))
    monkeypatch.setitem(DATASETS, "mnist", replace(DATASETS["mnist"], needed=tuple(needed)))
    monkeypatch.setattr("dptrain.data.fetch._PAUSE", 0.0)
    monkeypatch.setattr(fashion_mnist, "DEBIAN", tmp_path / "debian")
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            """Be silent."""

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


def _one_line(err):
    return err.startswith("dptrain: error: ") and err.count("\n") == 1


def test_get_fetches_verifies_and_opens_and_opens_no_connection_the_second_time(served, home, capsys):
    folder, url = served
    command = ["data", "get", "mnist", "--mirror", url, "--data-dir", str(home)]
    assert main(command) == 0
    out = capsys.readouterr().out
    assert out.startswith("mnist: 12 + 5 images, SHA-256 ")
    assert sorted(p.name for p in (home / "mnist").iterdir()) == sorted(f"{name}.gz" for name in IDX)
    assert [p.name for p in (home / "downloads").iterdir()] == [".lock"]
    for path in folder.iterdir():
        path.unlink()
    assert main(command) == 0
    assert capsys.readouterr().out == out


def test_get_continues_an_interrupted_download(served, home):
    folder, url = served
    (home / "downloads").mkdir(parents=True)
    whole = (folder / f"{IDX[0]}.gz").read_bytes()
    (home / "downloads" / f"{IDX[0]}.gz.part").write_bytes(whole[:50])
    (home / "downloads" / f"{IDX[1]}.gz").write_bytes((folder / f"{IDX[1]}.gz").read_bytes())
    (folder / f"{IDX[1]}.gz").unlink()
    assert main(["data", "get", "mnist", "--mirror", url, "--data-dir", str(home)]) == 0


def test_a_failed_get_names_address_path_digest_and_the_way_by_hand(served, home, capsys):
    folder, url = served
    (folder / f"{IDX[2]}.gz").write_bytes(gzip.compress(b"something else"))
    assert main(["data", "get", "mnist", "--mirror", url, "--data-dir", str(home)]) == CONFIGURATION
    err = capsys.readouterr().err
    asked, told = err.split("dptrain: error: ")
    assert f"asking {url}/{IDX[2]}.gz\nasking http://127.0.0.1:9/{IDX[2]}.gz\n" in asked
    assert told.startswith(
        f"{IDX[2]}.gz could not be fetched into {home / 'downloads'}\n  {url}/{IDX[2]}.gz: the content"
    )
    assert told.count("\n") == 5
    digest = DATASETS["mnist"].needed[2].digest
    for words in (f"{url}/{IDX[2]}.gz", "http://127.0.0.1:9/", str(home / "downloads"), digest, "thrown away"):
        assert words in err
    assert f"`dptrain data add mnist {IDX[2]}.gz`" in err
    assert not (home / "mnist" / f"{IDX[2]}.gz").exists()


def test_offline_opens_no_socket_and_says_what_is_missing(home, capsys, monkeypatch):
    def refused(*_, **__):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket, "create_connection", refused)
    monkeypatch.setattr(socket.socket, "connect", refused)
    assert main(["data", "get", "cifar10", "--offline", "--data-dir", str(home)]) == CONFIGURATION
    err = capsys.readouterr().err
    assert err.startswith("dptrain: error: cifar10 is not here: run `dptrain data get cifar10`, or put ")
    assert err.count("\n") == 3
    for words in (
        f"cifar-10-batches-py or cifar-10-batches-bin into {home}",
        "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
        "sha256:6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
        "`dptrain data add cifar10 FILE ...`",
    ):
        assert words in err
    assert not home.exists()


@pytest.mark.parametrize("name", sorted(name for name, known in DATASETS.items() if known.find))
def test_every_known_set_that_is_not_here_says_how_to_get_it(name, home, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(fashion_mnist, "DEBIAN", tmp_path / "debian")
    assert main(["data", "get", name, "--offline", "--data-dir", str(home)]) == CONFIGURATION
    err = capsys.readouterr().err
    assert err.startswith(f"dptrain: error: {name} is not here: ")
    assert len(err.splitlines()[0].replace(str(home), "HOME")) < 250
    assert f"dptrain data add {name} FILE" in err
    for source in DATASETS[name].needed:
        assert source.digest in err
        assert source.urls[0] in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["get", "cifar11"], "there is no data set 'cifar11'; did you mean cifar10?"),
        (["get", "sfddd"], "sfddd cannot be fetched: get it from https://www.kaggle.com"),
        (["get", "folder:x"], "there is no folder"),
        (["add", "mnit", "x"], "no files belong to a data set 'mnit'; did you mean mnist?"),
        (["add", "mnist", "gone.gz"], "gone.gz: there is no such file"),
        (["add", "mnist", "wrong.gz"], "wrong.gz is no file of mnist: it has sha256:"),
        (["add", "cifar10", "wrong.gz"], "but cifar-10-python.tar.gz has sha256:6d958be0"),
        (["add", "folder:x", "wrong.gz"], "only archives are taken"),
        (["add", "folder:../x", "x.zip"], "write folder:NAME"),
        (
            ["add", "folder:x", "."],
            ". is a folder, and only archives are taken: use it where it is, as --dataset folder:/",
        ),
        (["add", "mnist", "."], ". is a folder: give its files, or name the folder above it with --data-dir"),
        (
            ["add", "folder:a\nb", "bad.zip"],
            "dataset = 'folder:a\\nb': must be the name of a data set, folder:PATH or npz:FILE",
        ),
        (["get", "folder:a\0b"], "dataset = 'folder:a\\x00b': must be the name of a data set, folder:PATH or npz:FILE"),
        (["add", "folder:" + "x" * 300, "bad.zip"], "x cannot be written: File name too long"),
        (["add", "sfddd", "bad.zip"], "bad.zip is damaged, or no archive"),
        (["preview", "--rows", "0"], "--rows 0 --variants 8: both must be"),
        (["preview", "--dataset", "shapes32", "--out", "no/such/folder.png"], "cannot be written: No such file"),
        (["preview", "--dataset", "shapes32", "--augment", "spin:3"], "there is no augmentation 'spin'"),
    ],
)
def test_what_cannot_be_done_is_one_line(arguments, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("wrong.gz", "bad.zip"):
        (tmp_path / name).write_bytes(b"nothing of the kind")
    before = sorted(p.name for p in tmp_path.iterdir())
    assert main(["data", *arguments, "--data-dir", str(tmp_path / "home")]) == CONFIGURATION
    out, err = capsys.readouterr()
    assert _one_line(err), err
    assert words in err
    assert out == ""
    assert sorted(p.name for p in tmp_path.iterdir() if p.name != "home") == before


def test_files_fetched_by_hand_are_taken_packed_or_not_and_under_any_name(served, home, tmp_path, capsys):
    folder, _ = served
    files = []
    for at, name in enumerate(IDX):
        content = (folder / f"{name}.gz").read_bytes()
        path = tmp_path / (f"download ({at})" if at else f"{name}")
        path.write_bytes(content if at % 2 else gzip.decompress(content))
        files.append(str(path))
    assert main(["data", "add", "mnist", *files[:2], "--data-dir", str(home)]) == 0
    assert "2 file(s) added; not complete yet: mnist: t10k-images" in capsys.readouterr().out
    assert main(["data", "add", "mnist", *files[2:], "--data-dir", str(home)]) == 0
    assert "mnist: complete, SHA-256 " in capsys.readouterr().out
    assert sorted(p.name for p in (home / "mnist").iterdir()) == sorted(
        [IDX[0], f"{IDX[1]}.gz", IDX[2], f"{IDX[3]}.gz"]
    )


def test_one_wrong_file_among_several_adds_none(served, home, tmp_path):
    folder, _ = served
    wrong = tmp_path / "wrong.gz"
    wrong.write_bytes(gzip.compress(b"x"))
    given = [str(folder / f"{IDX[0]}.gz"), str(wrong)]
    assert main(["data", "add", "mnist", *given, "--data-dir", str(home)]) == CONFIGURATION
    assert not (home / "mnist").exists()


def test_an_archive_of_cifar_is_verified_and_unpacked(home, tmp_path, monkeypatch, capsys):
    archive = tmp_path / "cifar-10-binary.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for k in range(6):
            raw = bytes((k,)) + bytes(range(256)) * 12
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{f'data_batch_{k + 1}' if k < 5 else 'test_batch'}.bin")
            info.size = len(raw)
            tar.addfile(info, io.BytesIO(raw))
    right = f"md5:{hashlib.md5(archive.read_bytes()).hexdigest()}"
    changed = replace(DATASETS["cifar10"], needed=(), accepted=(Source(archive.name, right, ()),))
    monkeypatch.setitem(DATASETS, "cifar10", changed)
    assert main(["data", "add", "cifar10", str(archive), "--data-dir", str(home)]) == 0
    assert "cifar10: complete" in capsys.readouterr().out


def test_list_shows_what_is_here_what_is_not_and_what_is_damaged(served, home, capsys):
    folder, _ = served
    (home / "mnist").mkdir(parents=True)
    for name in IDX:
        (home / "mnist" / f"{name}.gz").write_bytes((folder / f"{name}.gz").read_bytes())
    (home / "cifar-10-batches-bin").mkdir()
    (home / "cifar-10-batches-bin" / "test_batch.bin").write_bytes(b"x")
    assert main(["data", "list", "--data-dir", str(home)]) == 0
    out = capsys.readouterr().out
    assert f"in {home}:" in out
    lines = {line.split()[0]: line for line in out.splitlines() if line.startswith("  ") and line[2] != " "}
    assert lines["mnist"].endswith(f" in {home / 'mnist'}, not opened yet")
    assert not (home / "cache").exists(), "nothing is decoded to be listed"
    assert "6,000 + 1,000 of 28x28x1" in lines["fashion-mini"]
    assert "damaged: cifar10: data_batch_1.bin" in lines["cifar10"]
    assert lines["gtsrb"].endswith("not here")
    assert set(lines) == {*catalog.NAMES, "folder:PATH", "npz:FILE"}
    sha256 = catalog.open_dataset("mnist", str(home)).sha256[:12]
    assert main(["data", "list", "--data-dir", str(home)]) == 0
    assert f" 12 + 5 of 6x5x1, 10 classes, {sha256}, in {home / 'mnist'}\n" in capsys.readouterr().out


def test_two_processes_that_get_at_once_take_turns(served, home, monkeypatch):
    _, url = served
    inside, most = [], []
    original = install.fetch

    def fetch(*arguments):
        inside.append(1)
        most.append(len(inside))
        try:
            return original(*arguments)
        finally:
            inside.pop()

    monkeypatch.setattr(install, "fetch", fetch)
    watcher = Watcher(lambda _: None, lambda *_: None)
    threads = [threading.Thread(target=install.get, args=("mnist", home, (url,), watcher)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 12
    assert max(most) == 1


def test_preview_draws_one_row_per_image_with_the_original_first(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    flags = ["--dataset", "shapes32", "--augment", "window:16:24,flip", "--rows", "3", "--variants", "2"]
    assert main(["data", "preview", *flags]) == 0
    assert capsys.readouterr().out.startswith("preview.png: 3 images of shapes32, 2 variants each")
    sheet = np.asarray(Image.open("preview.png").convert("RGB"), int)
    dataset = catalog.open_dataset("shapes32", "")
    source_images = dataset.train_images[dataset.train_labels == 0][:, 8:24, 4:28]
    left, top, zoom = 124, 18, 3
    cell = sheet[top : top + 16 * zoom : zoom, left : left + 24 * zoom : zoom]
    assert any((cell == image).all() for image in source_images), "the middle of a training image of class 0"
    assert (sheet[:, -12:] == 255).all(), "a margin"
    assert (sheet[:, -13] < 255).any()
    main(["data", "preview", *flags, "--out", "again.png"])
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "preview.png").read_bytes()
