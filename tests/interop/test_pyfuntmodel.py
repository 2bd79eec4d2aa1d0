"""Reading PyFunt's model.npy: what NumPy writes comes back, what is foreign or damaged is refused in one line."""

import io
import os
import pickle
import struct

import numpy as np
import pytest

from dptrain.errors import DataError
from dptrain.interop.pyfunt import read_pyfunt


def weights():
    rng = np.random.default_rng(0)
    return {
        "W1": rng.standard_normal((16, 3, 3, 3)).astype(np.float32),
        "b1": np.zeros(16, np.float32),
        "gamma1": rng.standard_normal(16),
        "W20": np.asfortranarray(rng.standard_normal((64, 10)).astype(np.float32)),
    }


def npy(pickled):
    """The bytes of an .npy file around a pickle, as np.save of 2016 wrote them."""
    head = b"{'descr': '|O', 'fortran_order': False, 'shape': (), }"
    head += b" " * (-(len(head) + 11) % 16) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + pickled


def string(text):
    return b"U" + bytes([len(text)]) + text


def python2(arrays, order=b"<"):
    """The pickle NumPy under Python 2 made of a 0-d object array around a dictionary: protocol 2, byte strings.

    Written opcode by opcode, because no Python of today writes SHORT_BINSTRING.
    """
    reconstruct = b"cnumpy.core.multiarray\n_reconstruct\n"
    empty = reconstruct + b"cnumpy\nndarray\nK\x00\x85" + string(b"b") + b"\x87R"

    def dtype(name, byteorder):
        return (
            b"cnumpy\ndtype\n"
            + string(name)
            + b"K\x00K\x01\x87R(K\x03"
            + string(byteorder)
            + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        )

    def array(a):
        shape = b"(" + b"".join(b"K" + bytes([n]) for n in a.shape) + b"t"
        data = a.astype(a.dtype.newbyteorder(order.decode())).tobytes()
        body = b"T" + struct.pack("<i", len(data)) + data
        return empty + b"(K\x01" + shape + dtype(f"f{a.itemsize}".encode(), order) + b"\x89" + body + b"tb"

    items = b"".join(string(k.encode()) + array(a) + b"s" for k, a in arrays.items())
    return b"\x80\x02" + empty + b"(K\x01)" + dtype(b"O8", b"|") + b"\x89](}" + items + b"etb."


def test_a_dictionary_saved_by_numpy_today_comes_back_bit_for_bit(tmp_path):
    np.save(tmp_path / "model", weights())
    found = read_pyfunt(tmp_path / "model.npy")
    assert list(found) == list(weights())
    for name, array in weights().items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
        assert found[name].flags.c_contiguous


@pytest.mark.parametrize("order", [b"<", b">"])
def test_a_dictionary_saved_under_python_2_comes_back(tmp_path, order):
    wanted = {"W1": np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2), "gamma1": np.array([0.6, 0.61])}
    (tmp_path / "model.npy").write_bytes(npy(python2(wanted, order)))
    found = read_pyfunt(tmp_path / "model.npy")
    assert list(found) == ["W1", "gamma1"]
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("exploded",)


@pytest.mark.parametrize("bomb", [Bomb(), np.random.default_rng, io.BytesIO])
def test_what_no_dictionary_of_weights_needs_is_refused_by_name_and_not_run(tmp_path, monkeypatch, bomb):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.npy").write_bytes(npy(pickle.dumps({"W1": bomb}, 2)))
    with pytest.raises(DataError, match=r"model\.npy names \w+\.\w+.*nothing was run"):
        read_pyfunt(tmp_path / "model.npy")
    assert not (tmp_path / "exploded").exists()


def test_a_foreign_name_that_would_break_the_line_is_quoted(tmp_path):
    path = tmp_path / "model.npy"
    np.save(path, {"W0": np.ones(3)}, allow_pickle=True)
    damaged = path.read_bytes().replace(b"_core.multiarray", b"\ncore\x1b[2Jtiarray")
    path.write_bytes(damaged)
    with pytest.raises(DataError) as e:
        read_pyfunt(path)
    assert "\\ncore\\x1b[2Jtiarray._reconstruct, which no dictionary of weights needs" in str(e.value)
    assert str(e.value).isprintable()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"W1": np.arange(3)}, "dtype 'i8'"),
        ({"W1": np.array(["a"])}, "dtype 'U1'"),
        ({"W1": [1.0]}, "entry 'W1' is no array of floats"),
        ({3: np.zeros(1)}, "entry '3'"),
        ({}, "holds a dict"),
        ([np.zeros(1)], "of shape"),
    ],
)
def test_a_model_with_arrays_other_than_floats_is_refused(tmp_path, content, message):
    np.save(tmp_path / "model", content)
    with pytest.raises(DataError, match=message) as caught:
        read_pyfunt(tmp_path / "model.npy")
    assert "\n" not in str(caught.value)


def test_an_array_that_claims_more_than_its_bytes_is_refused(tmp_path):
    good = python2({"W1": np.zeros((2, 2), np.float32)})
    (tmp_path / "model.npy").write_bytes(npy(good.replace(b"(K\x02K\x02t", b"(K\x02K\x7ft")))
    with pytest.raises(DataError, match="has 16 bytes"):
        read_pyfunt(tmp_path / "model.npy")


def test_a_file_cut_anywhere_is_one_line(tmp_path):
    whole = npy(python2({"W1": np.zeros((2, 2), np.float32)}))
    for length in range(len(whole)):
        (tmp_path / "model.npy").write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"model\.npy"):
            read_pyfunt(tmp_path / "model.npy")


def test_a_memo_number_beyond_the_file_is_refused_before_it_takes_memory(tmp_path):
    (tmp_path / "model.npy").write_bytes(npy(b"\x80\x02}r\xff\xff\xff\x7f."))
    with pytest.raises(DataError, match="numbers an object"):
        read_pyfunt(tmp_path / "model.npy")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match="No such file"):
        read_pyfunt(tmp_path / "model.npy")
