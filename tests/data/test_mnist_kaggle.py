"""Kaggle's digits: a table with one label and 784 values per row."""

from __future__ import annotations

import numpy as np
import pytest

from dptrain.data.catalog import open_dataset
from dptrain.errors import DataError

HEADER = ",".join(["label", *(f"pixel{i}" for i in range(784))])


def _rows(noise, n=30):
    table = np.concatenate([(np.arange(n) % 10)[:, None], noise((n, 784))], axis=1)
    return [",".join(map(str, row)) for row in table.tolist()]


def _write(tmp_path, lines):
    path = tmp_path / "digit-recognizer" / "train.csv"
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def test_the_first_rows_are_the_test_set(tmp_path, noise):
    _write(tmp_path, [HEADER, *_rows(noise)])
    d = open_dataset("mnist-kaggle", str(tmp_path))
    assert (d.test_labels.tolist(), d.train_labels.tolist()) == ([0, 1, 2], [i % 10 for i in range(3, 30)])
    np.testing.assert_array_equal(d.train_images.reshape(27, 784), noise((30, 784))[3:])
    assert d.image_shape == (28, 28, 1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda lines: lines[1:], "no column label, pixel1 in its first line '0,"),
        (lambda lines: lines[1:], "it holds numbers: put the names of the columns above them"),
        (lambda lines: lines[:1], "holds 0 rows"),
        (lambda lines: [lines[0].replace("pixel9,", ""), *lines[1:]], "line 1: columns pixel0 ... pixel783 are needed"),
        (lambda lines: [lines[0].replace("pixel9,", "pixel8,"), *lines[1:]], "line 1: columns pixel0 ... pixel783"),
        (lambda lines: [lines[0] + ",id", *lines[1:]], "each once: see 'id'"),
        (
            lambda lines: [*lines[:5], "7" + lines[5][1:] + ",1", *lines[6:]],
            "line 6: 785 whole numbers from 0 to 255 are needed, not 786",
        ),
        (lambda lines: [*lines[:5], "", "x" + lines[5][1:], *lines[6:]], "line 7: 785 whole numbers from 0 to 255"),
        (lambda lines: [*lines[:5], "10" + lines[5][1:], *lines[6:]], "line 6: labels are 0 ... 9"),
        (lambda lines: [*lines[:5], lines[5] + "9999", *lines[6:]], "line 6: 785 whole numbers from 0 to 255"),
        (lambda lines: [*lines[:5], "-1" + lines[5][1:], *lines[6:]], "are needed, not '-1'"),
    ],
)
def test_a_damaged_table_is_refused_in_one_line(tmp_path, noise, change, words):
    _write(tmp_path, change([HEADER, *_rows(noise)]))
    with pytest.raises(DataError) as e:
        open_dataset("mnist-kaggle", str(tmp_path))
    assert words in str(e.value)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    "changed",
    [
        lambda lines: ["\ufeff" + lines[0], *lines[1:], "", ""],
        lambda lines: [line.replace(",", ";") for line in lines],
        lambda lines: [",".join(f'"{field}"' for field in line.split(",")) for line in lines],
        lambda lines: [",".join(line.split(",")[::-1]) for line in lines],
        lambda lines: [",".join(["label", *(f"pixel{i + 1}" for i in range(784))]), *lines[1:]],
    ],
    ids=["byte order mark and empty lines", "semicolons", "quotes", "reversed columns", "pixels counted from 1"],
)
def test_columns_are_found_by_their_names_however_the_table_was_written(tmp_path, noise, changed):
    lines = [HEADER, *_rows(noise)]
    _write(tmp_path, lines)
    plain = open_dataset("mnist-kaggle", str(tmp_path)).sha256
    _write(tmp_path, changed(lines))
    assert open_dataset("mnist-kaggle", str(tmp_path)).sha256 == plain
