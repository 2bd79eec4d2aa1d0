"""Checkpoints on a thread: bounded, in order, tried again; and files that wait for room on the disk."""

import os
import threading

import pytest

from dptrain.errors import RunDirectoryError
from dptrain.runs.recorder import PatientFile
from dptrain.runs.shelf import CheckpointWriter


class Disk:
    """Takes checkpoints; `faults` are raised first, one an attempt."""

    def __init__(self, faults=()):
        self.faults, self.written = list(faults), []
        self.gate = threading.Event()
        self.gate.set()
        self.begun = threading.Event()

    def write(self, state, best):
        self.begun.set()
        assert self.gate.wait(20)
        if self.faults:
            raise self.faults.pop(0)
        self.written.append((state.step, best))


def test_training_does_not_wait_and_what_waits_is_replaced_but_never_a_best_one(make_state):
    disk = Disk()
    disk.gate.clear()
    writer = CheckpointWriter(disk.write)
    writer.put(make_state(1), best=False)
    assert disk.begun.wait(20)
    for step, best in ((2, False), (3, True), (4, False), (5, False)):
        writer.put(make_state(step), best=best)
    assert len(writer._waiting) == 2
    disk.gate.set()
    writer.close()
    assert disk.written == [(1, False), (3, True), (5, False)]


def test_a_checkpoint_that_failed_is_tried_again_until_it_is_written(make_state):
    disk = Disk([OSError(28, "No space left on device"), OSError(5, "Input/output error")])
    writer = CheckpointWriter(disk.write, retry=0.001)
    writer.put(make_state(7), best=True)
    with writer._condition:
        assert writer._condition.wait_for(lambda: len(writer._outcomes) == 3, 20)
    outcomes = writer.close()
    assert [(o.step, o.attempt, o.error) for o in outcomes] == [
        (7, 1, "No space left on device"),
        (7, 2, "Input/output error"),
        (7, 3, ""),
    ]
    assert disk.written == [(7, True)]


def test_the_end_does_not_wait_for_a_full_disk(make_state):
    disk = Disk([OSError(28, "full")] * 5)
    writer = CheckpointWriter(disk.write, retry=1e6)
    writer.put(make_state(1), best=False)
    assert {o.error for o in writer.close()} == {"full"}
    assert writer.close() == []


def test_a_write_that_can_never_succeed_is_not_tried_again(make_state):
    fault = RunDirectoryError("taken over")
    disk = Disk([fault])
    writer = CheckpointWriter(disk.write, retry=0.001)
    writer.put(make_state(1), best=False)
    [outcome] = writer.close()
    assert outcome.fatal is fault
    assert disk.written == []


def test_what_a_full_disk_does_not_take_waits_in_order_and_whole(tmp_path):
    file = PatientFile(tmp_path / "lines")
    file.write(b"one\n")
    real, full = file._file, open("/dev/full", "ab", buffering=0)  # noqa: SIM115  # takes the other one's place
    file._file = full
    file.write(b"two\n")
    file.write(b"three\n")
    assert file.fault == "No space left on device"
    with pytest.raises(OSError, match="No space left"):
        file.sync()
    file._file = real
    full.close()
    file.write(b"four\n")
    file.sync()
    assert file.fault == ""
    file.close()
    file.close()
    assert (tmp_path / "lines").read_bytes() == b"one\ntwo\nthree\nfour\n"


def test_a_write_that_takes_a_part_only_goes_on_at_its_place(tmp_path):
    file = PatientFile(tmp_path / "lines")
    real = file._file

    class Short:
        closed = False

        def __init__(self):
            self.left = 3

        def write(self, data):
            if not self.left:
                raise OSError(28, "No space left on device")
            part = real.write(bytes(data[: self.left]))
            self.left = 0
            return part

    file._file = Short()
    file.write(b"abcdef\n")
    file._file = real
    file.write(b"g\n")
    file.close()
    assert (tmp_path / "lines").read_bytes() == b"abcdef\ng\n"
    assert os.path.getsize(tmp_path / "lines") == 9
