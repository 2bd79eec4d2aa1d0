"""The codec: every message survives the wire, and nothing else does."""

import tracemalloc
from dataclasses import fields, is_dataclass
from typing import get_args

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.actions import altered
from dptrain.cluster.codec import FORMS, HEADER_BYTES, SUM_BYTES, Limits, checksum, decode, encode
from dptrain.cluster.messages import Assign, Hello, Message, NodeDone, Params, Ping, PreparedShard, Reject, Welcome
from dptrain.errors import LocalProtocolError, RemoteProtocolError
from dptrain.model import ShardResult

LIMITS = Limits(params=5, buffers=3, image_bytes=4 * 3 * 3 * 3)
TEXT_LIMITS = {"config": 900, "reason": 900}  # wide characters take 4 bytes each of the header's 4096


def same(a: Message, b: Message) -> bool:
    """Equal types and fields, arrays and floats bit for bit (NaN equals NaN)."""
    if type(a) is not type(b):
        return False
    for item in fields(a):
        x, y = getattr(a, item.name), getattr(b, item.name)
        if is_dataclass(x):
            if not same(x, y):
                return False
        elif isinstance(x, np.ndarray):
            if (x.dtype, x.shape, x.tobytes()) != (y.dtype, y.shape, y.tobytes()):
                return False
        elif isinstance(x, float):
            if np.float64(x).tobytes() != np.float64(y).tobytes():
                return False
        elif type(x) is not type(y) or x != y:
            return False
    return True


def printable(limit: int) -> st.SearchStrategy[str]:
    letters = st.characters(exclude_categories=("C", "Z"), include_characters=" ")
    return st.text(letters.filter(str.isprintable), max_size=limit)


def vectors(size: int) -> st.SearchStrategy[np.ndarray]:
    return st.binary(min_size=4 * size, max_size=4 * size).map(lambda raw: np.frombuffer(raw, np.float32))


@st.composite
def images(draw: st.DrawFn) -> np.ndarray:
    shape = tuple(draw(st.integers(1, top)) for top in (4, 3, 3, 3))
    size = int(np.prod(shape))
    return np.frombuffer(draw(st.binary(min_size=size, max_size=size)), np.uint8).reshape(shape)


@st.composite
def messages(draw: st.DrawFn) -> Message:
    form = FORMS[draw(st.sampled_from(sorted(FORMS)))]
    kinds = {int: st.integers(0, 2**63 - 1), float: st.floats(min_value=0, allow_infinity=False)}
    values = {
        key: draw(printable(TEXT_LIMITS.get(key, 60)) if kind is str else kinds[kind])
        for key, kind in form.scalars.items()
    }
    if "loss" in values:
        values["loss"] = draw(st.floats())
    for key in form.arrays:
        size = {"params": 5, "gradient": 5, "buffers": 3, "statistics": 3}.get(key)
        values[key] = draw(images() if size is None else vectors(size))
    return form.message(values)


def node_done() -> NodeDone:
    gradient, statistics = np.arange(5, dtype=np.float32), np.ones(3, np.float32)
    return NodeDone(3, "a" * 32, 7, 0, 2, 0, "d" * 16, 0.25, ShardResult(gradient, statistics, 1.5, 60, 64))


def header_of(message: Message) -> dict[str, object]:
    return msgpack.unpackb(encode(message)[0][SUM_BYTES:])


def summed(packed: bytes, *arrays: bytes) -> list[bytes]:
    """The frames with the checksum that belongs to them."""
    return [checksum((packed, *arrays)) + packed, *arrays]


def refused(header: object, *arrays: bytes) -> str:
    packed = header if isinstance(header, bytes) else msgpack.packb(header)
    with pytest.raises(RemoteProtocolError) as caught:
        decode(summed(packed, *arrays), LIMITS)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600
    return str(caught.value)


@settings(max_examples=600, deadline=None)
@given(messages())
def test_a_decoded_message_equals_the_encoded_one_bit_for_bit(message):
    frames = [bytes(frame) for frame in encode(message)]
    assert same(decode(frames, LIMITS), message)


def test_every_message_of_the_protocol_is_in_the_table():
    assert set(FORMS) == {cls.__name__ for cls in get_args(Message)}


def test_arrays_are_sent_and_received_without_a_copy():
    message = node_done()
    frames = encode(message)
    assert np.shares_memory(np.frombuffer(frames[1], np.float32), message.result.gradient)
    received = [bytearray(frame) for frame in frames]
    gradient = decode(received, LIMITS).result.gradient
    assert gradient.flags.writeable
    assert np.shares_memory(gradient, np.frombuffer(received[1], np.float32))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"step": np.int64(3)}, "NodeDone.step is np.int64(3) (int64); wanted int"),
        ({"step": True}, "NodeDone.step is True (bool); wanted int"),
        ({"step": -1}, "NodeDone.step is -1; allowed are 0 to 2**63 - 1"),
        ({"hits": 2**63}, "allowed are 0 to 2**63 - 1"),
        ({"loss": np.float64(1)}, "wanted float"),
        ({"seconds": float("nan")}, "NodeDone.seconds is nan; wanted a finite number >= 0"),
        ({"seconds": float("inf")}, "NodeDone.seconds is inf; wanted a finite number >= 0"),
        ({"digest": "d" * 257}, "has 257 characters; at most 256 are allowed"),
        ({"gradient": np.zeros(5)}, "NodeDone.gradient is float64 of shape (5,)"),
        ({"gradient": np.zeros((5, 1), np.float32)}, "with 1 dimension(s)"),
        ({"gradient": np.zeros(10, np.float32)[::2]}, "is not C-contiguous; send a copy"),
        ({"statistics": [0.0, 0.0, 0.0]}, "NodeDone.statistics is list"),
    ],
)
def test_encode_refuses_what_has_not_exactly_the_declared_type(change, text):
    with pytest.raises(LocalProtocolError) as caught:
        encode(altered(node_done(), **change))
    assert text in str(caught.value)


def test_encode_refuses_a_header_that_no_peer_would_accept():
    with pytest.raises(LocalProtocolError, match="at most 4096 can be sent"):
        encode(Welcome(1, "i", "\U0001f600" * 3000, "d", "l"))


@pytest.mark.parametrize(
    ("header", "text"),
    [
        (b"", "the header is not valid"),
        (b"\xc1", "the header is not valid"),
        (b"\x80trailing", "the header is not valid"),
        (b"\xdf\xff\xff\xff\xff", "the header is not valid"),
        (b"\xdd\xff\xff\xff\xff", "the header is not valid"),
        (b"\xc6\xff\xff\xff\xff", "the header is not valid"),
        (b"\x82\xa4type\xa4Ping\xa4type\xa4Ping", "a key stands twice"),
        (b"\x81\xa4type\xd6\xff\x00\x00\x00\x00", "the header is not valid"),
        (b"\x81" * 4000, "the header is not valid"),
        (b"\x81\xa4type\xa2\xff\xfe", "the header is not valid"),
        (bytes(HEADER_BYTES + 1 - SUM_BYTES), "a header of 4097 bytes; at most 4096 are allowed"),
        ([], "the header is []; wanted a map"),
        ({}, "wanted a map with a type"),
        ({"type": "Run"}, "unknown message type 'Run'"),
        ({"type": ["Ping"], "term": 1}, "unknown message type ['Ping']"),
        ({"type": "__class__", "term": 1}, "unknown message type"),
        ({"type": "Ping"}, "Ping: keys ['type']; wanted ['term', 'type']"),
        ({"type": "Ping", "term": 1, "x": 1}, "Ping: keys"),
        ({"type": "Ping", "term": 1.0}, "Ping.term is 1.0 (float); wanted int"),
        ({"type": "Ping", "term": True}, "Ping.term is True (bool); wanted int"),
        ({"type": "Ping", "term": -1}, "Ping.term is -1"),
        ({"type": "Ping", "term": 2**64 - 1}, "Ping.term is 18446744073709551615"),
        ({"type": "Ping", "term": None}, "Ping.term is None"),
        ({"type": "Reject", "reason": "a\nb"}, "holds characters that cannot be printed"),
        ({"type": "Reject", "reason": "\x1b[2J"}, "holds characters that cannot be printed"),
        ({"type": "Reject", "reason": b"a"}, "the header is not valid"),
        ({"type": "Reject", "reason": "a" * 1025}, "has 1025 characters; at most 1024 are allowed"),
    ],
)
def test_a_header_that_is_not_exactly_a_message_is_refused(header, text):
    assert text in refused(header)


def test_too_few_too_many_and_wrongly_sized_frames_are_refused():
    head = header_of(node_done())
    assert "NodeDone: 2 frames; wanted 3" in refused(head, bytes(20))
    assert "NodeDone: 4 frames; wanted 3" in refused(head, bytes(20), bytes(12), b"")
    assert "NodeDone.gradient has 24 bytes; wanted 20" in refused(head, bytes(24), bytes(12))
    assert "NodeDone.statistics has 11 bytes; wanted 12" in refused(head, bytes(20), bytes(11))
    assert "Ping: 2 frames; wanted 1" in refused({"type": "Ping", "term": 1}, b"")
    with pytest.raises(RemoteProtocolError, match="a message without frames"):
        decode([], LIMITS)


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ([1, 2, 3], 6),
        ([1, 1, 2, 3, 1], 6),
        ([1, 1, 2, 3], 5),
        ([1, 1, -2, -3], 6),
        ([2**62, 4, 1, 1], 0),
        ([0, 2**62, 1, 1], 0),
        ([1.0, 1, 2, 3], 6),
        ([True, 1, 2, 3], 6),
        ([1, 1, 1, 109], 109),
        ("1123", 6),
        ({"n": 1}, 6),
    ],
)
def test_images_of_an_impossible_shape_are_refused(shape, size):
    refused({"type": "PreparedShard", "step": 1, "shard": 0, "shape": shape}, bytes(size))


def test_before_the_network_is_known_every_array_is_refused():
    params = Params(1, 0, "d", np.zeros(5, np.float32), np.zeros(3, np.float32))
    with pytest.raises(RemoteProtocolError, match="wanted 0"):
        decode(encode(params), Limits(0, 0, 0))


def test_a_network_without_buffers_sends_an_empty_frame():
    message = Params(1, 0, "d", np.zeros(5, np.float32), np.zeros(0, np.float32))
    frames = encode(message)
    assert [len(frame) for frame in frames[1:]] == [20, 0]
    assert same(decode(frames, Limits(5, 0, 0)), message)


def test_one_flipped_bit_anywhere_is_refused():
    frames = [bytearray(frame) for frame in encode(node_done())]
    for frame in frames:
        for bit in range(8 * len(frame)):
            frame[bit // 8] ^= 1 << bit % 8
            with pytest.raises(RemoteProtocolError):
                decode(frames, LIMITS)
            frame[bit // 8] ^= 1 << bit % 8
    assert same(decode(frames, LIMITS), node_done())


SEEDS = [
    node_done(),
    Hello(1, "a" * 32, "w0@host", 17, "fp32-v1", "avx2"),
    Welcome(1, "i", '{"n": 1}', "d", "l"),
    Assign(1, 2, 0, 2, 0, "d" * 16, 4, 0),
    Ping(1),
    Reject("no"),
    PreparedShard(1, 0, np.zeros((2, 3, 3, 1), np.uint8)),
    Params(1, 0, "d", np.zeros(5, np.float32), np.zeros(3, np.float32)),
]


def mutate(rng: np.random.Generator, frames: list[bytes]) -> list[bytes]:
    out = [bytearray(frame) for frame in frames]
    for _ in range(int(rng.integers(1, 5))):
        frame = out[0] if rng.random() < 0.7 or len(out) == 1 else out[int(rng.integers(1, len(out)))]
        at = int(rng.integers(0, len(frame) + 1))
        match int(rng.integers(0, 6)):
            case 0:
                frame[at : at + 1] = bytes([int(rng.integers(256))])
            case 1:
                del frame[at : at + int(rng.integers(1, 9))]
            case 2:
                frame[at:at] = rng.bytes(int(rng.integers(1, 9)))
            case 3:  # the lengths of msgpack's containers, strings, bins and extensions
                frame[at : at + 5] = bytes([int(rng.integers(0xC0, 0xE0))]) + b"\xff\xff\xff\xff"
            case 4:
                out.append(bytearray(rng.bytes(int(rng.integers(0, 30)))))
            case _:
                out.pop() if len(out) > 1 else out[0].clear()
    if rng.random() < 0.9 and len(out[0]) > SUM_BYTES:  # else the checksum alone would refuse them all
        out = summed(bytes(out[0][SUM_BYTES:]), *map(bytes, out[1:]))
    return [bytes(frame) for frame in out]


MOST = 16 << 10  #: bytes; measured: 3,191 at most. A length that was believed would cost gigabytes


def decoded(frames: list[bytes]) -> tuple[Message | None, int]:
    """The message, None where it is refused, and the bytes that decoding took at most."""
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    try:
        message = decode(frames, LIMITS)
    except RemoteProtocolError:
        message = None
    return message, tracemalloc.get_traced_memory()[1] - before


def test_mutated_frames_are_refused_or_are_messages_and_never_cost_memory():
    """msgpack interns the keys of a map. Python's table of interned strings, which belongs to the whole process, may
    have to grow at any key: by 2 MB in a process that ran other tests. The next decoding of the same frames shows that.
    """
    rng = np.random.default_rng(7)
    cases = [mutate(rng, [bytes(f) for f in encode(SEEDS[i % len(SEEDS)])]) for i in range(12_000)]
    refusals = 0
    tracemalloc.start()
    try:
        for frames in cases:
            message, size = decoded(frames)
            assert size < MOST or decoded(frames)[1] < MOST
            refusals += message is None
            assert message is None or same(decode([bytes(f) for f in encode(message)], LIMITS), message)
    finally:
        tracemalloc.stop()
    assert refusals > 8_000
