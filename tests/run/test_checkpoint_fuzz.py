"""Damaged checkpoint files of every kind, and crashes between any two operations of a write. Longer: run this file."""

import hashlib
import json
import os
import struct
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from dptrain.errors import CheckpointError
from dptrain.run.checkpoint import load, pack
from dptrain.run.shelf import Shelf


class Crash(BaseException):
    """The process is killed here: nothing of it runs any more."""


class Disk:
    """Counts what the file system is asked for, and kills before a chosen operation."""

    def __init__(self, patch, kill_at, seed):
        self.left, self.rng = kill_at, np.random.default_rng(seed)
        for owner, name in ((os, "fsync"), (os, "link"), (Path, "replace"), (Path, "unlink")):
            patch.setattr(owner, name, self.counted(getattr(owner, name)))

    def counted(self, operation):
        def call(*arguments, **more):
            if self.left == 0:
                raise Crash
            self.left -= 1
            return operation(*arguments, **more)

        return call


@pytest.mark.parametrize("keep", [0, 1, 2])
def test_a_kill_between_any_two_operations_leaves_the_old_checkpoint_or_the_new_one(tmp_path, facts, make_state, keep):
    """The temporary file, its fsync, the rename, the link, the pruning: every instant of a checkpoint write."""
    contents = {step: pack(make_state(step), facts, term=1) for step in (5, 10, 15, 20)}
    operations, seen = 0, set()
    while True:
        folder = tmp_path / f"{operations}"
        folder.mkdir()
        shelf = Shelf(folder, keep)
        for step in (5, 10, 15):
            shelf.put(contents[step], step, best=step == 10)
        with pytest.MonkeyPatch.context() as patch:
            disk = Disk(patch, operations, seed=operations)
            try:
                shelf.put(contents[20], 20, best=True)
            except Crash:
                whole = False
            else:
                whole = disk.left > 0
        for unsynced in (p for p in folder.glob(".*.tmp") if p.stat().st_nlink == 1):
            # the kernel may have written any part of it
            unsynced.write_bytes(unsynced.read_bytes()[: int(disk.rng.integers(2_000))])
        found, warnings = Shelf(folder, keep).newest_valid()
        assert (found.step, warnings) in ((15, []), (20, []))
        seen.add(found.step)
        shelf.put(contents[20], 20, best=True)
        assert shelf.newest_valid()[0].step == 20
        if whole:
            break
        operations += 1
    assert operations >= 5
    assert seen == {15, 20}


def test_a_file_cut_anywhere_or_with_any_byte_of_its_header_changed_is_refused(tmp_path, facts, make_state):
    content = pack(make_state(), facts, term=1)
    path = tmp_path / "c.safetensors"
    header = 8 + struct.unpack("<Q", content[:8])[0]
    for size in (*range(0, len(content), 97), *range(0, len(content), 4096), len(content) - 1):
        refused(path, content[:size])
    for at in range(header):
        refused(path, content[:at] + bytes([content[at] ^ 0x55]) + content[at + 1 :])


def refused(path, content):
    path.write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        load(path)
    assert "\n" not in str(caught.value)


def in_one_line(error):
    assert "\n" not in str(error)


def mutated(rng, content):
    """Cut, flipped, repeated, with another header length, or another header whose hash is right again."""
    raw = bytearray(content)
    match int(rng.integers(7)):
        case 0:
            del raw[int(rng.integers(len(raw))) :]
        case 1:
            raw[int(rng.integers(len(raw)))] ^= 1 << int(rng.integers(8))
        case 2:
            raw += rng.bytes(int(rng.integers(1, 50)))
        case 3:
            at = int(rng.integers(len(raw)))
            raw[at:at] = raw[at : at + int(rng.integers(1, 300))]
        case 4:
            raw[:8] = struct.pack("<Q", int(rng.integers(2**63)) >> int(rng.integers(63)))
        case _:
            return _with_another_header(rng, content)
    return bytes(raw)


def _with_another_header(rng, content):
    """Structure-aware: some value of the header or of the state's numbers is another one, and the hash fits."""
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    meta = json.loads(header["__metadata__"]["dptrain"])
    odd = [None, -1, 2**70, "x", [], {}, 1e999, "nan", True]
    table = [header, meta, meta["numbers"], meta["data"]][int(rng.integers(4))]
    key = sorted(table)[int(rng.integers(len(table)))]
    if key != "__metadata__":
        table[key] = odd[int(rng.integers(len(odd)))]
    header["__metadata__"] = {"dptrain": json.dumps(meta), "sha256": "0" * 64}
    packed = json.dumps(header, separators=(",", ":")).encode()
    out = struct.pack("<Q", len(packed)) + packed + content[8 + length :]
    digest = hashlib.sha256(out).hexdigest().encode()
    return out.replace(b'"sha256":"' + b"0" * 64, b'"sha256":"' + digest, 1)


def hammer(path, state, facts, seed, executions=10**12, seconds=1e9):
    """(executions, files that were read all the same)."""
    content, rng = pack(state, facts, term=1), np.random.default_rng(seed)
    end, done, read = time.monotonic() + seconds, 0, 0
    while done < executions and time.monotonic() < end:
        path.write_bytes(mutated(rng, content))
        done += 1
        try:
            load(path).state(state.params_layout, state.buffers_layout)
        except CheckpointError as error:
            in_one_line(error)
        else:
            read += 1
    return done, read


def test_mutated_checkpoints_are_refused_in_one_line_or_read_and_nothing_else(tmp_path, facts, make_state):
    done, read = hammer(tmp_path / "m.safetensors", make_state(), facts, seed=3, executions=3_000)
    assert done == 3_000
    assert read < 0.3 * done


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    import conftest

    layout = conftest.layout_digest(conftest.PARAMS, conftest.BUFFERS)
    some_facts = conftest.RunFacts(conftest.Config(), conftest.DATA, layout, "fp32-v1", "ResNet-8, 112 parameters")
    with tempfile.TemporaryDirectory() as folder:
        some_state = conftest.make_state.__wrapped__()()
        result = hammer(Path(folder) / "m", some_state, some_facts, int(time.time()), seconds=float(sys.argv[1]))
    sys.stdout.write(f"executions, read: {result}\n")
