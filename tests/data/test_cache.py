"""The decoded copy on disk: used when it is right, made again when it is not, never half-written."""

from __future__ import annotations

import logging
import os
import subprocess
import sys

import numpy as np
import pytest

from dptrain.data import catalog
from dptrain.data.catalog import open_dataset
from dptrain.data.dataset import Part, assemble
from dptrain.data.datasets import mnist


@pytest.fixture
def home(tmp_path, write_idx):
    write_idx(tmp_path / "home" / "mnist")
    return tmp_path / "home"


@pytest.fixture
def decoded(monkeypatch):
    """A list that grows by one file name each time a source file is decoded."""
    seen = []
    original = mnist.read_idx

    def read(path, dims):
        seen.append(path.name)
        return original(path, dims)

    monkeypatch.setattr(mnist, "read_idx", read)
    return seen


def _same(a, b):
    assert a.manifest() == b.manifest()
    for x, y in ((a.train_images, b.train_images), (a.test_images, b.test_images), (a.train_labels, b.train_labels)):
        np.testing.assert_array_equal(x, y)
    np.testing.assert_array_equal(a.test_labels, b.test_labels)


def _files(home):
    return sorted(path.suffix for path in (home / "cache").iterdir())


def test_the_second_opening_maps_what_the_first_decoded(home, decoded):
    first = open_dataset("mnist", str(home))
    assert len(decoded) == 4
    second = open_dataset("mnist", str(home))
    assert len(decoded) == 4
    _same(first, second)
    assert not second.train_images.flags.writeable
    assert type(second.train_images) is np.ndarray
    assert _files(home) == [".json", ".u8"]


def test_a_changed_source_is_decoded_again(home, decoded, write_idx, noise):
    before = open_dataset("mnist", str(home))
    write_idx(home / "mnist", packed=False)  # plain files come before packed ones
    path = home / "mnist" / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:16] + noise((360,), 60).tobytes())
    after = open_dataset("mnist", str(home))
    assert len(decoded) == 8
    assert before.sha256 != after.sha256


def _damage(home, suffix, change):
    path = next((home / "cache").glob(f"*{suffix}"))
    changed = path.with_suffix(".changed")
    changed.write_bytes(change(path.read_bytes()))
    changed.replace(path)  # not in place: the data set opened before has the old file mapped


@pytest.mark.parametrize(
    ("suffix", "change"),
    [
        (".u8", lambda raw: raw[:-1]),
        (".u8", lambda raw: raw[:-1] + bytes([raw[-1] ^ 1])),  # same size, but newer than its manifest says
        (".json", lambda raw: raw[: len(raw) // 2]),
        (".json", lambda _: b"{}"),
        (".json", lambda _: b"[]"),
        (".json", lambda raw: raw.replace(b"12", b"13")),
        (".json", lambda raw: raw.replace(b'"train"', b'"tra1n"')),
    ],
)
def test_a_damaged_copy_is_made_again(home, decoded, suffix, change):
    first = open_dataset("mnist", str(home))
    _damage(home, suffix, change)
    second = open_dataset("mnist", str(home))
    assert len(decoded) == 8
    _same(first, second)
    open_dataset("mnist", str(home))
    assert len(decoded) == 8, "and then it is right again"


def test_a_removed_copy_is_made_again(home, decoded):
    first = open_dataset("mnist", str(home))
    next((home / "cache").glob("*.u8")).unlink()
    _same(first, open_dataset("mnist", str(home)))


def test_an_unwritable_folder_costs_a_warning_and_nothing_else(home, caplog):
    (home / "cache").write_text("a file where the folder would be; permissions do not stop root")
    with caplog.at_level(logging.WARNING):
        d = open_dataset("mnist", str(home))
    assert len(d.train_labels) == 12
    assert [r.getMessage().split(":")[0] for r in caplog.records] == ["mnist is kept in memory, not mapped"]


def test_a_full_disk_leaves_no_half_written_file(home, monkeypatch, caplog):
    def full(_fd):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(catalog.os, "fsync", full)
    d = open_dataset("mnist", str(home))
    assert len(d.train_labels) == 12
    assert _files(home) == []
    assert "No space left on device" in caplog.text


def test_processes_that_decode_at_the_same_moment_do_not_disturb_one_another(home):
    code = (
        "import sys; from dptrain.data.catalog import open_dataset\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "for _ in range(20):\n"
        "    d = open_dataset('mnist', sys.argv[1]); assert d.train_labels.tolist() == [i % 10 for i in range(12)]\n"
        "    assert int(d.train_images.astype('int64').sum()) == int(sys.argv[2])\n"
        "    for p in __import__('pathlib').Path(sys.argv[1], 'cache').glob('*.json'): p.unlink(missing_ok=True)\n"
        "open_dataset('mnist', sys.argv[1])\n"
    )
    total = int(open_dataset("mnist", str(home)).train_images.sum(dtype=np.int64))
    arguments = [sys.executable, "-c", code, str(home), str(total)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(arguments, env=os.environ.copy(), **pipes) for _ in range(3)]
    for process in processes:
        assert process.stdout.readline() == "ready\n", process.communicate()[1]
    for process in processes:  # all are waiting: now let them go
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        _, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (0, "")
    assert _files(home) == [".json", ".u8"]


def test_groups_are_kept_with_the_images(tmp_path, noise):
    source = tmp_path / "source"
    source.write_text("")
    groups = np.array([5, 5, 2, 2**40])
    parts = Part(noise((4, 3, 3, 1)), np.arange(4) % 2, groups), Part(noise((2, 3, 3, 1), 1), np.arange(2))
    made = [
        catalog.load_or_decode("g", ("a", "b"), [source], tmp_path / "cache", lambda: assemble("g", ("a", "b"), *parts))
        for _ in range(2)
    ]
    for dataset in made:
        assert dataset.train_groups.tolist() == groups.tolist()
        np.testing.assert_array_equal(dataset.test_images, parts[1].images)
    ungrouped = assemble("g", ("a", "b"), parts[0]._replace(groups=None), parts[1])
    assert ungrouped.train_groups is None
    assert made[1].sha256 == made[0].sha256 != ungrouped.sha256
