"""Fuzzes every reader of foreign bytes briefly, and tests the fuzzer; for longer: `launch/soak.sh fuzz TARGET`."""

import struct
import time

import pytest

from dptrain.data.datasets.cifar10 import load_batch
from dptrain.errors import DataError
from simulation import mutations
from simulation.fuzz import fuzz
from simulation.targets import TARGETS, Target


@pytest.mark.parametrize("name", TARGETS)
def test_files_made_of_sound_ones_are_read_or_refused_in_one_line(tmp_path, name):
    found = fuzz(TARGETS[name], tmp_path, seed=0, executions=400)
    assert found.kinds == {}
    assert 0 < found.read < 0.5 * found.executions


def test_an_opcode_across_the_end_of_a_frame_is_refused_before_it_takes_memory(tmp_path):
    """Found by fuzzing: CPython drops what is left of the frame and takes the next four bytes for the number."""
    path = tmp_path / "batch"
    path.write_bytes(b"\x80\x04\x95" + struct.pack("<Q", 4) + b"}r" + struct.pack("<I", 5) + b"N0.")
    with pytest.raises(DataError, match="ends inside an opcode"):
        load_batch(path)


def test_a_frame_that_ends_with_an_opcode_is_read(tmp_path):
    path = tmp_path / "batch"
    path.write_bytes(b"\x80\x04" + b"\x95" + struct.pack("<Q", 6) + b"}r" + struct.pack("<I", 9) + b".")
    assert load_batch(path) == {}


@pytest.mark.parametrize("opcode", [b"\x96" + struct.pack("<Q", 2**40), b"\x97", b"\x98"])
def test_buffers_of_protocol_5_are_refused_before_they_take_memory(tmp_path, opcode):
    path = tmp_path / "batch"
    path.write_bytes(b"\x80\x05" + opcode + b".")
    with pytest.raises(DataError, match=r"which no file of numbers needs|BYTEARRAY8|truncated|expected"):
        load_batch(path)


def hammered(tmp_path, read, executions=200):
    return fuzz(Target(read, DataError, lambda: [(bytes(64), mutations.raw)]), tmp_path, seed=1, executions=executions)


def odd(path):
    """Whether the file is one of those that the reader below fails at."""
    return path.read_bytes()[:1] not in (b"\0", b"")


def test_another_exception_is_a_finding_and_its_bytes_are_kept(tmp_path):
    def read(path):
        if odd(path):
            raise LookupError("no such thing")

    found = hammered(tmp_path, read)
    [(kind, file)] = found.kinds.items()
    assert kind.startswith("LookupError: test_fuzz.py:")
    assert odd(file)


def test_an_error_of_two_lines_is_a_finding(tmp_path):
    def read(path):
        if odd(path):
            raise DataError("one line\nand another")

    assert [kind.split(":")[0] for kind in hammered(tmp_path, read).kinds] == ["a message that is not one line"]


def test_a_file_that_takes_long_is_a_finding(tmp_path, monkeypatch):
    monkeypatch.setattr("simulation.fuzz.SLOW", 0.02)

    def read(path):
        end = time.process_time() + 0.05 * odd(path)
        while time.process_time() < end:
            pass

    assert "slow: 0 s" in hammered(tmp_path, read).kinds


def test_memory_that_grows_is_a_finding(tmp_path, monkeypatch):
    monkeypatch.setattr("simulation.fuzz.GROWTH", 8 << 20)
    kept = []

    def read(path):
        if odd(path) and len(kept) < 64:
            kept.append(b"x" * (4 << 20))  # 256 MiB in all: far more than the tests before this one may have left free

    assert any(kind.startswith("memory grew by") for kind in hammered(tmp_path, read, 1_200).kinds)


def test_a_reader_that_answers_to_a_lack_of_memory_is_a_finding(tmp_path):
    def read(path):
        try:
            bytearray(2**40 if odd(path) else 1)
        except MemoryError as error:
            raise DataError("damaged") from error

    assert any(kind.startswith("asks for more than 2 GiB") for kind in hammered(tmp_path, read).kinds)


def test_one_seed_gives_the_same_files_again(tmp_path):
    seen = []
    for _ in range(2):
        files = []
        hammered(tmp_path, lambda path, files=files: files.append(path.read_bytes()))
        seen.append(files)
    assert seen[0] == seen[1]
    assert len(set(seen[0])) > 150
