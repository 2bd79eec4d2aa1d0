"""Damaged and hostile files made of sound ones, each a pure function of a generator: bytes, pickles, what holds them.

A change of structure keeps the rest consistent (lengths, checksums, digests), so that it gets past the first check.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import pickletools
import random
import struct
import warnings
import zipfile
from collections.abc import Callable

import msgpack

from dptrain.cluster.codec import SUM_BYTES, checksum

EDGES = (0, 1, 2, 3, 4, 7, 8, 127, 128, 255, 256, 65_535, 65_536, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64)
ODD = (None, True, -1, 2**31, 2**63, 2**64 - 1, 1.5, float("nan"), float("inf"), "", "x" * 300, b"\0", [], {}, [[]])


def raw(dice: random.Random, content: bytes) -> bytes:
    """Below any structure: one to four changes of bits, bytes, numbers, lengths, pieces."""
    out = bytearray(content)
    for _ in range(dice.randint(1, 4)):
        at = dice.randrange(len(out) + 1)
        match dice.randrange(7):
            case 0:
                del out[at:]
            case 1 if at < len(out):
                out[at] ^= 1 << dice.randrange(8)
            case 2:
                out[at : at + 1] = bytes([dice.randrange(256)])
            case 3:
                form = dice.choice(("<B", "<H", ">I", "<I", "<Q"))
                number = dice.choice(EDGES) % 256 ** struct.calcsize(form)
                out[at : at + struct.calcsize(form)] = struct.pack(form, number)
            case 4:
                out[at:at] = dice.randbytes(dice.choice((1, 3, 8, 100)))
            case 5:
                out[at : at + dice.choice((1, 4, 50))] = b""
            case _:
                other = dice.randrange(len(out) + 1)
                out[at:at] = out[other : other + dice.choice((2, 16, 200))]
    return bytes(out)


# --- pickles


def opcodes(content: bytes) -> list[bytes]:
    """The opcodes of the sound pickle that `content` begins with, each with its argument."""
    stream = io.BytesIO(content)
    starts = [at for _, _, at in pickletools.genops(stream)]
    return [content[a:b] for a, b in zip(starts, [*starts[1:], stream.tell()], strict=True)]


def pickled(dice: random.Random, content: bytes) -> bytes:
    """One pickle with one to five of its opcodes left out, moved, repeated, replaced or given another argument."""
    ops = opcodes(content)
    for _ in range(dice.randint(1, 5)):
        at, other = dice.randrange(len(ops)), dice.randrange(len(ops))
        match dice.randrange(7):
            case 0 if len(ops) > 1:
                del ops[at]
            case 1:
                ops.insert(at, ops[other])
            case 2:
                ops[at], ops[other] = ops[other], ops[at]
            case 3:
                ops[at] = _any_opcode(dice)
            case 4:
                ops.insert(at, _any_opcode(dice))
            case 5:
                ops[at:at] = ops[other : other + dice.randrange(1, 12)]
            case _:
                ops[at] = raw(dice, ops[at]) or b"."
    return b"".join(ops)


def _any_opcode(dice: random.Random) -> bytes:
    """Any opcode there is, with an argument that may be nonsense."""
    op = dice.choice(pickletools.opcodes)
    code = op.code.encode("latin1")
    if op.arg is None:
        return code
    if op.arg.n >= 0:
        return code + (dice.choice(EDGES) % 256**op.arg.n).to_bytes(op.arg.n, "little")
    if op.arg.n == pickletools.UP_TO_NEWLINE:
        lines = (
            b"numpy\nndarray\n",
            b"numpy\ndtype\n",
            b"os\nsystem\n",
            b"1\n",
            b"-5\n",
            b"torch\nFloatStorage\n",
            b"x\n",
        )
        return code + dice.choice(lines)
    wide = {pickletools.TAKEN_FROM_ARGUMENT1: "<B", pickletools.TAKEN_FROM_ARGUMENT8U: "<Q"}.get(op.arg.n, "<I")
    size = dice.choice((0, 1, 5, 255)) if dice.random() < 0.7 else dice.choice(EDGES)
    return code + struct.pack(wide, size % 256 ** struct.calcsize(wide)) + dice.randbytes(min(size, 300))


def pickles(dice: random.Random, content: bytes) -> bytes:
    """Several pickles one after the other, and what follows them: one of them is changed."""
    parts, at = [], 0
    while content[at : at + 1] == b"\x80":
        parts.append(b"".join(opcodes(content[at:])))
        at += len(parts[-1])
    rest = content[at:]
    which = dice.randrange(len(parts))
    parts[which] = pickled(dice, parts[which])
    return b"".join(parts) + (raw(dice, rest) if rest and dice.random() < 0.2 else rest)


def npy(dice: random.Random, content: bytes) -> bytes:
    """An .npy file around a pickle: the pickle is changed, or now and then the header."""
    start = content.index(b"\n", 8) + 1
    head = content[:start]
    return (raw(dice, head) if dice.random() < 0.1 else head) + pickled(dice, content[start:])


def zipped(dice: random.Random, content: bytes) -> bytes:
    """A zip archive of torch.save, written anew with another pickle, other storages, names or method."""
    out = io.BytesIO()
    with (
        warnings.catch_warnings(action="ignore"),  # of two entries with one name, which is what is wanted
        zipfile.ZipFile(io.BytesIO(content)) as old,
        zipfile.ZipFile(out, "w") as new,
    ):
        for info in old.infolist():
            name, body = info.filename, old.read(info)
            if name.endswith(".pkl") and dice.random() < 0.8:
                body = pickled(dice, body)
            elif dice.random() < 0.05:
                body = raw(dice, body or b"\0")
            if dice.random() < 0.03:
                name = dice.choice(("../x", "archive/data.pkl", f"{name}/", "x" * 300, "archive/data/0"))
            method = zipfile.ZIP_DEFLATED if dice.random() < 0.03 else zipfile.ZIP_STORED
            new.writestr(zipfile.ZipInfo(name), body, method)
    return raw(dice, out.getvalue()) if dice.random() < 0.2 else out.getvalue()


# --- tables and frames


def idx(dice: random.Random, content: bytes) -> bytes:
    """An IDX array, in gzip or not: another magic, other sizes, or anything at all."""
    packed = content[:2] == b"\x1f\x8b"
    inner = bytearray(gzip.decompress(content) if packed else content)
    if dice.random() < 0.6:
        at = 4 * dice.randrange(1 + inner[3])
        inner[at : at + 4] = struct.pack(">I", dice.choice((*EDGES, len(inner), 28, 784)) % 2**32)
    else:
        inner = bytearray(raw(dice, bytes(inner)))
    if not packed:
        return bytes(inner)
    out = gzip.compress(bytes(inner), 1, mtime=0)
    return raw(dice, out) if dice.random() < 0.4 else out


def checkpoint(dice: random.Random, content: bytes) -> bytes:
    """A checkpoint with another value in one of its tables and a digest that is right again; or anything at all."""
    if dice.random() < 0.2:
        return raw(dice, content)
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    meta = json.loads(header["__metadata__"]["dptrain"])
    for _ in range(dice.randint(1, 3)):
        _change(dice, dice.choice((header, meta, meta.get("numbers"), meta.get("data"), *header.values())))
    if dice.random() < 0.1:
        meta["config"] = raw(dice, str(meta.get("config")).encode()).decode("latin1")
    header["__metadata__"] = {"dptrain": json.dumps(meta, default=str), "sha256": "0" * 64}
    packed = json.dumps(header, separators=(",", ":"), default=str).encode()
    out = struct.pack("<Q", len(packed)) + packed + content[8 + length :]
    digest = hashlib.sha256(out).hexdigest().encode()
    return out.replace(b'"sha256":"' + b"0" * 64, b'"sha256":"' + digest, 1)


def safetensors(dice: random.Random, content: bytes) -> bytes:
    """Weights with other values in the header, or in its JSON text about them; or anything at all."""
    if dice.random() < 0.2:
        return raw(dice, content)
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    about = json.loads(header["__metadata__"]["dptrain.about"])
    for _ in range(dice.randint(1, 3)):
        _change(dice, dice.choice((header, about, *header.values())))
    header["__metadata__"] = {"dptrain.about": json.dumps(about, default=str)}
    packed = json.dumps(header, default=str).encode()
    return struct.pack("<Q", len(packed)) + packed + content[8 + length :]


def _change(dice: random.Random, table: object) -> None:
    """Another value, or none, for one key of a dictionary."""
    if not isinstance(table, dict):
        return
    keys = sorted(key for key in table if key != "__metadata__")
    if not keys:
        return
    key = dice.choice(keys)
    if dice.random() < 0.2:
        del table[key]
        return
    table[key] = dice.choice((*(odd for odd in ODD if not isinstance(odd, bytes)), [0, 2**40], "F64", table[key]))


def frames(dice: random.Random, content: bytes) -> bytes:
    """A message in the form of `joined`: other fields or other frames, mostly with a checksum that is right again."""
    parts = cut(content)
    header = msgpack.unpackb(parts[0][SUM_BYTES:])
    for _ in range(dice.randint(1, 3)):
        choice = dice.randrange(7)
        if choice < 4:
            header[dice.choice([*header, "extra"])] = dice.choice((*ODD, *EDGES[:-1]))
        elif choice == 4:
            header.pop(dice.choice(list(header)), None)
            header = header or {"type": "Ping"}
        else:
            at = dice.randrange(1, len(parts) + 1)
            parts[at : at + dice.randrange(2)] = [dice.randbytes(dice.choice((0, 1, 4, len(parts[-1]))))]
    packed = msgpack.packb(header)
    if dice.random() < 0.3:
        packed = raw(dice, packed)
    total = checksum((packed, *parts[1:]))
    if dice.random() < 0.05:
        total = dice.randbytes(SUM_BYTES)
    return joined([total + packed, *parts[1:]])


def joined(parts: list[bytes]) -> bytes:
    """Frames as one file: the length of each before it."""
    return b"".join(struct.pack("<I", len(part)) + part for part in parts)


def cut(content: bytes) -> list[bytes]:
    """The frames of such a file; what is too short for a length is no frame."""
    parts, at = [], 0
    while at + 4 <= len(content):
        (length,) = struct.unpack_from("<I", content, at)
        parts.append(content[at + 4 : at + 4 + length])
        at += 4 + length
    return parts


Mutation = Callable[[random.Random, bytes], bytes]
