"""PyTorch's files without PyTorch: sound files are read bit for bit; all others raise one DataError and run no code."""

import hashlib
import io
import pickle
import struct
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dptrain.errors import DataError
from dptrain.interop.torchfile import read_torch

HEAD = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickle.dumps({"little_endian": True}, 2)


# --- a small writer of the opcodes torch.save writes: no torch, and free to lie


def text(value):
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value):
    return b"J" + struct.pack("<i", value)


def several(*parts):
    return b"(" + b"".join(parts) + b"t"


def storage(key="0", kind="FloatStorage", numel=6, module="torch"):
    return several(text("storage"), f"c{module}\n{kind}\n".encode(), text(key), text("cpu"), number(numel)) + b"Q"


def tensor(shape=(2, 3), strides=(3, 1), offset=0, **of):
    what = several(storage(**of), number(offset), several(*map(number, shape)), several(*map(number, strides)))
    return b"ctorch._utils\n_rebuild_tensor\n" + what + b"R"


def mapping(**entries):
    return b"}(" + b"".join(text(k.replace("__", ".")) + v for k, v in entries.items()) + b"u"


SIX = np.array([1.5, -2.0, 3.25, 0.0, -0.0, 1e-30], "<f4")


def legacy(value, storages=None, head=HEAD):
    storages = {"0": SIX} if storages is None else storages
    raw = b"".join(struct.pack("<q", a.size) + a.tobytes() for a in storages.values())
    return head + b"\x80\x02" + value + b"." + pickle.dumps(list(storages), 2) + raw


def zipped(value, storages=None, name="archive", compression=zipfile.ZIP_STORED, **more):
    storages = {"0": SIX} if storages is None else storages
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        archive.writestr(f"{name}/data.pkl", b"\x80\x02" + value + b".")
        for key, a in storages.items():
            archive.writestr(f"{name}/data/{key}", a.tobytes())
        for entry, content in more.items():
            archive.writestr(f"{name}/{entry}", content)
    return out.getvalue()


@pytest.fixture
def read(tmp_path):
    def write_and_read(content):
        path = tmp_path / "weights.pth"
        path.write_bytes(content)
        return read_torch(path)

    return write_and_read


both_formats = pytest.mark.parametrize("saved", [legacy, zipped])


# --- sound files


@both_formats
def test_a_state_dict_comes_out_bit_for_bit(saved, read):
    got = read(saved(mapping(conv1__weight=tensor())))
    assert list(got) == ["conv1.weight"]
    assert got["conv1.weight"].dtype == np.float32
    assert got["conv1.weight"].tobytes() == SIX.tobytes()
    assert got["conv1.weight"].shape == (2, 3)


@both_formats
def test_views_of_one_storage_are_cut_and_transposed(saved, read):
    column, turned = tensor(shape=(2,), strides=(3,), offset=1), tensor(shape=(3, 2), strides=(1, 3))
    got = read(saved(mapping(column=column, turned=turned, empty=tensor(shape=(0, 3)), scalar=tensor((), (), 5))))
    assert np.array_equal(got["column"], SIX.reshape(2, 3)[:, 1])
    assert np.array_equal(got["turned"], SIX.reshape(2, 3).T)
    assert got["turned"].flags.c_contiguous
    assert got["empty"].shape == (0, 3)
    assert got["scalar"].shape == ()
    assert got["scalar"] == SIX[5]


@both_formats
@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        ("DoubleStorage", "<f8"),
        ("HalfStorage", "<f2"),
        ("LongStorage", "<i8"),
        ("IntStorage", "<i4"),
        ("ShortStorage", "<i2"),
        ("CharStorage", "i1"),
        ("ByteStorage", "u1"),
        ("BoolStorage", "?"),
    ],
)
def test_every_type_of_storage_keeps_its_type(saved, kind, dtype, read):
    values = np.array([0, 1, 1, 0, 1, 1], dtype)
    got = read(saved(mapping(a=tensor(kind=kind)), {"0": values}))["a"]
    assert got.dtype == values.dtype
    assert np.array_equal(got.ravel(), values)


@both_formats
def test_bfloat16_becomes_the_float32_of_the_same_value(saved, read):
    exact = np.array([1.0, -2.0, 0.5, np.inf, -0.0, 3.140625], np.float32)
    upper = (exact.view(np.uint32) >> 16).astype("<u2")
    got = read(saved(mapping(a=tensor(kind="BFloat16Storage")), {"0": upper}))["a"]
    assert got.dtype == np.float32
    assert got.tobytes() == exact.tobytes()


@both_formats
def test_a_checkpoint_is_unwrapped_and_data_parallels_prefix_is_stripped(saved, read):
    inner = mapping(module__a=tensor(), module__bn__num_batches_tracked=tensor())
    got = read(saved(mapping(state_dict=inner, best_prec1=b"G" + struct.pack(">d", 91.78), epoch=number(3))))
    assert list(got) == ["a"]


def test_a_prefix_that_not_all_names_have_is_part_of_the_name(read):
    assert list(read(legacy(mapping(module__a=tensor(), b=tensor())))) == ["module.a", "b"]


def test_parameters_ordered_dicts_metadata_and_the_newer_rebuild_function_are_admitted(read):
    hooks = b"ccollections\nOrderedDict\n)R"
    newer = several(storage(), number(0), several(number(2), number(3)), several(number(3), number(1)), b"\x89", hooks)
    newer = b"ctorch._utils\n_rebuild_tensor_v2\n" + newer + b"R"
    parameter = b"ctorch._utils\n_rebuild_parameter\n" + several(newer, b"\x88", hooks) + b"R"
    ordered = b"ccollections\nOrderedDict\n)R(" + text("w") + parameter + b"u" + mapping(_metadata=b"}") + b"b"
    assert np.array_equal(read(legacy(ordered))["w"], SIX.reshape(2, 3))


def test_the_arrays_belong_to_the_caller(read):
    got = read(legacy(mapping(a=tensor(), b=tensor())))
    got["a"][:] = 7
    assert np.array_equal(got["b"].ravel(), SIX)


def test_akamasters_resnet20_is_read_as_pytorch_reads_it(shared_data):
    path = shared_data("akamaster/resnet20-12fca82f.th")
    assert hashlib.sha256(path.read_bytes()).hexdigest().startswith("12fca82f0beb")
    got = read_torch(path)
    assert len(got) == 97
    assert sum(a.size for name, a in got.items() if "running_" not in name) == 269_722
    assert next(iter(got)) == "conv1.weight"
    assert got["linear.weight"].shape == (10, 64)
    digest = hashlib.sha256()
    for name, array in got.items():
        digest.update(name.encode() + array.tobytes())
    # Made with PyTorch 2.13: torch.load(..., weights_only=True), the same loop over its tensors.
    assert digest.hexdigest() == "b0a845a931deb07e2020f9498e047407e8dd2ec9b3fa9d8d91bec0ff9bb41059"


# --- files that want something


@both_formats
@pytest.mark.parametrize(
    ("module", "name"),
    [("os", "system"), ("builtins", "eval"), ("torch", "load"), ("collections", "Counter"), ("torch._utils", "x.y")],
)
def test_a_foreign_global_is_refused_by_name_and_never_called(saved, module, name, read, tmp_path):
    proof = tmp_path / "ran"
    call = f"c{module}\n{name}\n".encode() + several(text(f"touch {proof}")) + b"R"
    with pytest.raises(DataError, match=rf"{module}\.{name}.*nothing was run"):
        read(saved(mapping(a=call)))
    assert not proof.exists()


def test_an_object_made_by_reduce_protocols_is_refused(read):
    class Evil:
        def __reduce__(self):
            return print, ("hello",)

    for protocol in (2, 4, 5):
        body = pickle.dumps({"a": Evil()}, protocol)
        with pytest.raises(DataError, match=r"builtins.print|__builtin__.print"):
            read(HEAD + body)


def test_a_pickle_cannot_write_to_what_it_is_given(read):
    build = b"ctorch._utils\n_rebuild_tensor\nN" + mapping(__defaults__=b")") + b"\x86b"
    with pytest.raises(DataError):
        read(legacy(mapping(a=build)))
    assert read(legacy(mapping(a=tensor())))["a"].shape == (2, 3)


def test_a_memo_number_that_would_fill_the_memory_is_refused_before_it_does(read):
    with pytest.raises(DataError, match="numbers an object 4294967295"):
        read(legacy(b"Nr\xff\xff\xff\xff0" + mapping(a=tensor())))


# --- files that lie about sizes


@both_formats
@pytest.mark.parametrize(
    "view",
    [
        {"shape": (2, 4), "strides": (4, 1)},
        {"shape": (2, 3), "strides": (4, 1)},
        {"shape": (2, 3), "strides": (3, 1), "offset": 1},
        {"shape": (3,), "strides": (1,), "offset": 4},
        {"shape": (7,), "strides": (0,)},
        {"shape": (2**31 - 1, 2**31 - 1), "strides": (0, 0)},
    ],
)
def test_a_tensor_beyond_its_storage_is_refused(saved, view, read):
    with pytest.raises(DataError, match="does not fit into the 6 elements of storage 0"):
        read(saved(mapping(a=tensor(**view))))


@both_formats
@pytest.mark.parametrize(
    ("view", "complaint"),
    [
        ({"shape": (-1,), "strides": (1,)}, "has size"),
        ({"shape": (2,), "strides": (-1,), "offset": 5}, "has stride"),
        ({"shape": (2,), "strides": (1,), "offset": -1}, "has offset"),
        ({"shape": (2, 3), "strides": (1,)}, "has size .* but stride"),
    ],
)
def test_negative_or_missing_counts_are_refused(saved, view, complaint, read):
    with pytest.raises(DataError, match=complaint):
        read(saved(mapping(a=tensor(**view))))


@both_formats
@pytest.mark.parametrize("kind", ["ComplexFloatStorage", "UntypedStorage", "QInt8Storage"])
def test_a_type_that_is_not_known_is_refused_by_name(saved, kind, read):
    with pytest.raises(DataError, match=rf"torch\.{kind}"):
        read(saved(mapping(a=tensor(kind=kind))))


@both_formats
def test_two_descriptions_of_one_storage_are_refused(saved, read):
    with pytest.raises(DataError, match="described twice"):
        read(saved(mapping(a=tensor(), b=tensor(numel=7))))


def test_a_storage_shorter_or_longer_than_described_is_refused(read):
    with pytest.raises(DataError, match="has 6 elements, but its tensors expect 5"):
        read(legacy(mapping(a=tensor(shape=(2,), strides=(1,), numel=5))))
    with pytest.raises(DataError, match="should have 20 bytes, found 24 bytes"):
        read(zipped(mapping(a=tensor(shape=(2,), strides=(1,), numel=5))))
    with pytest.raises(DataError, match="should have 24 bytes, found nothing"):
        read(zipped(mapping(a=tensor()), {}))
    with pytest.raises(DataError, match="list of storages"):
        read(legacy(mapping(a=tensor()), {}))


@both_formats
def test_a_file_cut_off_anywhere_is_refused(saved, read):
    whole = saved(mapping(a=tensor()))
    for length in range(len(whole)):
        with pytest.raises(DataError):
            read(whole[:length])


# --- files of another kind


def test_entries_that_torch_never_writes_are_refused(read):
    with pytest.raises(DataError, match="compressed"):
        read(zipped(mapping(a=tensor()), compression=zipfile.ZIP_DEFLATED))
    with pytest.raises(DataError, match=r"2 entries data\.pkl"):
        read(zipped(mapping(a=tensor()), **{"inner/data.pkl": b"N."}))


def test_other_byte_orders_are_refused(read):
    big = HEAD[: -len(pickle.dumps({"little_endian": True}, 2))] + pickle.dumps({"little_endian": False}, 2)
    with pytest.raises(DataError, match="big-endian"):
        read(legacy(mapping(a=tensor()), head=big))
    with pytest.raises(DataError, match="big-endian"):
        read(zipped(mapping(a=tensor()), byteorder=b"big"))
    assert "a" in read(zipped(mapping(a=tensor()), byteorder=b"little"))


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "neither a zip archive nor a pickle"),
        (b"\x89PNG\r\n", "neither a zip archive nor a pickle"),
        (pickle.dumps({"a": 1}) * 3, "not like one of torch.save"),
        (b"PK\x03\x04 no", "damaged"),
        (HEAD + pickle.dumps([1, 2], 2) + pickle.dumps([], 2), "holds a list"),
        (HEAD + pickle.dumps({"lr": 0.1}, 2) + pickle.dumps([], 2), "entry 'lr' holds a float"),
    ],
)
def test_a_file_that_is_not_a_state_dict_is_recognized(content, complaint, read):
    with pytest.raises(DataError, match=complaint):
        read(content)


def test_every_complaint_is_one_line_with_the_path(read, tmp_path):
    for content in (b"\x80\x02cos\nsystem\n.", legacy(mapping(a=tensor(offset=9))), b"PK\x03\x04"):
        with pytest.raises(DataError) as caught:
            read(content)
        assert "\n" not in str(caught.value)
        assert str(tmp_path / "weights.pth") in str(caught.value)
    with pytest.raises(DataError, match="No such file"):
        read_torch(tmp_path / "missing.pth")
    with pytest.raises(DataError, match="directory"):
        read_torch(tmp_path)


@given(which=st.sampled_from([legacy, zipped]), places=st.lists(st.tuples(st.integers(0), st.integers(0, 255))))
def test_damaged_bytes_end_in_a_data_error_or_in_arrays(tmp_path_factory, which, places):
    content = bytearray(which(mapping(a=tensor(), b=tensor(shape=(3,), strides=(2,)))))
    for place, value in places:
        content[place % len(content)] = value
    path = tmp_path_factory.getbasetemp() / "fuzzed.pth"
    path.write_bytes(content)
    try:
        got = read_torch(path)
    except DataError:
        return
    assert all(isinstance(a, np.ndarray) for a in got.values())


def test_the_order_of_the_file_is_kept(read):
    names = ["z", "a", "m"]
    assert list(read(legacy(mapping(**{n: tensor() for n in names})))) == names
    assert OrderedDict(read(legacy(mapping(**{n: tensor() for n in names})))).popitem()[0] == "m"
