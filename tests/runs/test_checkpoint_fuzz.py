"""Cut and changed checkpoint files; crashes between any two operations of a write. Mutations: `soak.sh fuzz`."""

import os
import struct
from pathlib import Path

import numpy as np
import pytest

from dptrain.errors import CheckpointError
from dptrain.runs.checkpoint import load, pack
from dptrain.runs.shelf import Shelf


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


def no_links(source, target):
    raise OSError(1, "Operation not permitted")


@pytest.fixture
def cut_everywhere(tmp_path, power):
    """cut_everywhere(keep, before, act): yields a shelf on which `before` was done, and `act` until the power was cut:
    before its first operation, before its second one, ... and after its last one.
    """

    def each(keep, before, act, *, removed, links=True):
        operations, whole = 0, False
        while not whole:
            shelf = Shelf(tmp_path / f"{operations}", keep)
            shelf.folder.mkdir()
            before(shelf)
            with pytest.MonkeyPatch.context() as patch:
                if not links:
                    patch.setattr(os, "link", no_links)
                cable = power(shelf.folder)
                disk = Disk(patch, operations, seed=operations)
                try:
                    act(shelf)
                except Crash:
                    pass
                else:
                    whole = disk.left > 0
            cable.cut(removed=removed)
            yield shelf
            operations += 1
        assert operations >= 5

    return each


@pytest.mark.parametrize("removed", [False, True])
@pytest.mark.parametrize("keep", [0, 1, 2])
def test_a_power_cut_while_a_run_goes_back_leaves_the_old_state_or_the_earlier_one(
    cut_everywhere, facts, make_state, keep, removed
):
    """The void ones may outlive it, whole; what is gone back to is never lost with them."""
    contents = {step: pack(make_state(step), facts, term=1) for step in (5, 10, 15)}

    def fifteen(shelf):
        for step in (5, 15):
            shelf.put(contents[step], step, best=step == 15)

    for shelf in cut_everywhere(keep, fifteen, lambda shelf: shelf.go_back(contents[10], 10), removed=removed):
        found, warnings = shelf.newest_valid()
        assert (found.step, warnings) in ((15, []), (10, [])), shelf.folder
    assert found.step == load(shelf.folder / "last.safetensors").step == 10


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("removed", [False, True])
@pytest.mark.parametrize("keep", [0, 1, 2])
def test_a_power_cut_costs_at_most_the_checkpoint_that_was_being_written(
    cut_everywhere, facts, make_state, keep, removed, links
):
    """On file systems with and without hard links; a written one is there by all its names."""
    contents = {step: pack(make_state(step), facts, term=1) for step in (5, 10, 15, 20)}

    def fifteen(shelf):
        for step in (5, 10, 15):
            shelf.put(contents[step], step, best=step == 10)

    def twenty(shelf):
        shelf.put(contents[20], 20, best=True)

    for shelf in cut_everywhere(keep, fifteen, twenty, removed=removed, links=links):
        found, warnings = shelf.newest_valid()
        assert (found.step, warnings) in ((15, []), (20, [])), shelf.folder
    assert [load(shelf.folder / name).step for name in ("last.safetensors", "best.safetensors")] == [20, 20]


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
