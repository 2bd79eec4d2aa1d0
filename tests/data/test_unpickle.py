"""The allow-list unpickler: official batches are read, no code runs."""

from __future__ import annotations

import io
import os
import pickle
import struct

import numpy as np
import pytest

from dptrain.data.datasets.cifar10 import load_batch
from dptrain.errors import DataError

Y = [3, 0, 9, 3]


@pytest.fixture(scope="module")
def x(noise):
    return noise((4, 3072))


@pytest.fixture(scope="module")
def official(python2_pickle, x):
    return python2_pickle(b"data_batch_1", x, Y)


def _load(tmp_path, content):
    path = tmp_path / "data_batch_1"
    path.write_bytes(content)
    return load_batch(path)


def test_a_batch_written_by_python_2_is_read(tmp_path, official, x):
    batch = _load(tmp_path, official)
    assert sorted(batch) == ["batch_label", "data", "labels"]
    assert batch["labels"] == Y
    assert batch["data"].dtype == np.uint8
    np.testing.assert_array_equal(batch["data"], x)


@pytest.mark.parametrize("protocol", [3, 4])
def test_a_batch_pickled_again_by_python_3_is_read(tmp_path, protocol, x):
    content = pickle.dumps({"data": x, "labels": Y}, protocol=protocol)
    assert b"numpy._core" in content or b"numpy.core" in content
    np.testing.assert_array_equal(_load(tmp_path, content)["data"], x)


class _Runs:
    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (pickle.dumps({"data": _Runs(os.system, "touch INTRUDER")}), r"(posix|nt)\.system"),
        (pickle.dumps({"data": _Runs(eval, "open('INTRUDER', 'w')")}), r"builtins\.eval"),
        (pickle.dumps({"data": _Runs(getattr, 1, "real")}), r"builtins\.getattr"),
        (pickle.dumps({"data": np.float64(1)}, protocol=2), r"numpy\._core\.multiarray\.scalar"),
        (b"cnumpy\nload\n(S'INTRUDER'\ntR.", r"numpy\.load"),
        (b"\x80\x04\x8c\x05numpy\x8c\x0cndarray.dump\x93.", r"numpy\.ndarray\.dump"),
    ],
)
def test_a_foreign_global_is_refused_by_name_and_not_called(tmp_path, monkeypatch, content, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=rf"names {name}, which no CIFAR batch holds"):
        _load(tmp_path, content)
    assert not (tmp_path / "INTRUDER").exists()


def _array_of(dtype, data, shape=(2,), fortran=b"\x89"):
    """A pickle of {"data": array} with any dtype and any content."""
    text = b"X" + struct.pack("<I", len(dtype)) + dtype.encode()
    raw = data if isinstance(data, bytes) and not data.startswith(b"!") else data[1:]
    sizes = b"(" + b"".join(b"J" + struct.pack("<i", n) for n in shape) + b"t"
    return (
        b"\x80\x02}X\x04\x00\x00\x00datacnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01" + sizes + b"cnumpy\ndtype\n" + text + b"K\x00K\x01\x87R" + fortran + raw + b"tbs."
    )


def _bytes(content):
    return b"T" + struct.pack("<i", len(content)) + content


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (_array_of("O8", b"!](NNe"), "dtype 'O8'"),
        (_array_of("O8", _bytes(b"\0" * 16)), "dtype 'O8'"),
        (_array_of("f8", _bytes(b"\0" * 16)), "dtype 'f8'"),
        (_array_of("u1", _bytes(b"abc")), "not a plain C-ordered one"),
        (_array_of("u1", _bytes(b"ab"), shape=(-2, -1)), "not a plain C-ordered one"),
        (_array_of("u1", _bytes(b"ab"), fortran=b"\x88"), "not a plain C-ordered one"),
        (_array_of("u1", b"!](NNe"), "not a plain C-ordered one"),
        (pickle.dumps({"data": np.array([{}], dtype=object)}, protocol=4), "dtype 'O8'"),
    ],
)
def test_an_array_of_anything_but_bytes_is_refused(tmp_path, content, words):
    with pytest.raises(DataError) as e:
        _load(tmp_path, content)
    assert words in str(e.value)


def test_the_writer_of_arrays_above_makes_readable_ones(tmp_path):
    assert _load(tmp_path, _array_of("u1", _bytes(b"ab")))["data"].tolist() == [97, 98]


@pytest.mark.parametrize("at", [0, 1, 10, 200, 5000, -1])
def test_a_truncated_pickle_is_refused(tmp_path, official, at):
    with pytest.raises(DataError, match=r"data_batch_1 is not a CIFAR batch, or a damaged one"):
        _load(tmp_path, official[:at])


@pytest.mark.parametrize(
    "content",
    [
        b"\x1f\x8b\x08\x00 not a pickle",
        b"\x80\x02]K\x01.",  # a list
        b"\x80\x02}(K\x01K\x02}K\x03u.",  # an unhashable key
        b"\x80\x02cnumpy\nndarray\n}U\x05valueK\x01sb.",  # state for a class
        b"\x80\x02\x82\x01.",  # an extension code
        b"\x80\x04U\x01aQ.",  # a persistent id
        b"\x80\x02cnumpy\ndtype\n)R.",  # too few arguments
    ],
)
def test_nonsense_is_refused_in_one_line(tmp_path, content):
    with pytest.raises(DataError) as e:
        _load(tmp_path, content)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("number", [b"r\xff\xff\xff\xff", b"r\x00\x01\x00\x00", b"p99999999\n"])
def test_a_memo_number_beyond_the_file_is_refused_before_it_takes_memory(tmp_path, number):
    with pytest.raises(DataError, match=r"data_batch_1 is not a CIFAR batch.*numbers an object"):
        _load(tmp_path, b"\x80\x02}" + number + b".")


def test_an_attack_on_the_stand_ins_changes_nothing_for_the_next_file(tmp_path, official, x):
    for name in (b"cnumpy\nndarray\n", b"cnumpy\ndtype\n"):
        with pytest.raises(DataError):
            _load(tmp_path, b"\x80\x02" + name + b"N}U\x0c__setstate__K\x01s\x86b.")
    np.testing.assert_array_equal(_load(tmp_path, official)["data"], x)


def test_the_standard_unpickler_would_have_run_it():
    # Keeps the attack above an attack: the same bytes do something where nothing is on guard.
    assert pickle.load(io.BytesIO(pickle.dumps(_Runs(eval, "6 * 7")))) == 42


def test_a_file_that_is_far_too_long_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr("dptrain.data.datasets.cifar10._MOST_BYTES", 1000)
    (tmp_path / "batch").write_bytes(bytes(1001))
    with pytest.raises(DataError, match="batch has 1,001 bytes; at most 1,000 are read"):
        load_batch(tmp_path / "batch")
