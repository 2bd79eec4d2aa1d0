"""Which checkpoints a run keeps, and which of them is used after a crash."""

import pytest

from dptrain.errors import CheckpointError
from dptrain.runs.checkpoint import load, pack
from dptrain.runs.shelf import Shelf, find


@pytest.fixture
def shelf(tmp_path):
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    return Shelf(folder, keep=2)


@pytest.fixture
def put(shelf, facts, make_state):
    def put(step, *, best=False):
        shelf.put(pack(make_state(step), facts, term=1), step, best=best)

    return put


def names(shelf):
    return sorted(path.name for path in shelf.folder.iterdir())


def test_last_best_and_the_newest_numbered_ones_are_kept_and_nothing_else(shelf, put):
    for step in (5, 10, 15, 20):
        put(step, best=step == 10)
    assert names(shelf) == [
        "best.safetensors",
        "last.safetensors",
        "step-00000015.safetensors",
        "step-00000020.safetensors",
    ]
    assert load(shelf.folder / "last.safetensors").step == 20
    assert load(shelf.folder / "best.safetensors").step == 10


def test_a_run_that_went_back_leaves_nothing_of_the_steps_it_took_back(shelf, put, facts, make_state):
    for step in (5, 10, 11):
        put(step)
    shelf.go_back(pack(make_state(10), facts, term=1), 10)
    assert shelf.newest_valid()[0].step == 10  # whatever happens now
    put(10)
    assert names(shelf) == ["last.safetensors", "step-00000010.safetensors"]
    assert shelf.newest_valid()[0].step == 10


def test_the_best_checkpoint_of_a_step_that_was_taken_back_does_not_count(shelf, put, facts, make_state):
    put(10)
    shelf.put(pack(make_state(11), facts, term=1), 11, best=True)
    Shelf(shelf.folder, keep=0).go_back(pack(make_state(10), facts, term=1), 10)
    assert names(shelf) == ["last.safetensors"]
    assert shelf.newest_valid()[0].step == 10


def test_with_keep_0_there_is_only_last_and_best(shelf, facts, make_state):
    bare = Shelf(shelf.folder, keep=0)
    for step in (1, 2):
        bare.put(pack(make_state(step), facts, term=1), step, best=step == 1)
    assert names(shelf) == ["best.safetensors", "last.safetensors"]
    assert load(shelf.folder / "last.safetensors").step == 2
    assert load(shelf.folder / "best.safetensors").step == 1


def test_the_newest_intact_checkpoint_is_used(shelf, put):
    put(5)
    put(10)
    found, warnings = shelf.newest_valid()
    assert (found.step, warnings) == (10, [])


def test_a_damaged_one_is_set_aside_with_a_warning_and_the_older_one_taken(shelf, put):
    put(5)
    put(10)  # last and step 10 are one file by two names: damage hits both
    damaged = shelf.folder / "last.safetensors"
    content = bytearray(damaged.read_bytes())
    content[-1] ^= 1
    with damaged.open("r+b") as file:
        file.write(content)
    found, warnings = shelf.newest_valid()
    assert found.step == 5
    assert len(warnings) == 2
    assert "last.safetensors is damaged" in warnings[0]
    assert names(shelf) == [
        "last.safetensors.damaged",
        "step-00000005.safetensors",
        "step-00000010.safetensors.damaged",
    ]


def test_a_crash_between_writing_and_renaming_loses_nothing(shelf, put, facts, make_state):
    put(5)
    (shelf.folder / "step-00000010.safetensors").write_bytes(pack(make_state(10), facts, term=1))
    assert shelf.newest_valid()[0].step == 10


def test_if_no_checkpoint_is_intact_it_is_an_error_and_if_there_is_none_it_is_not(shelf, put):
    assert shelf.newest_valid() == (None, [])
    put(5)
    for path in shelf.folder.iterdir():
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CheckpointError, match=r"every checkpoint in .* is damaged: .*last\.safetensors"):
        shelf.newest_valid()


def test_a_failed_write_leaves_the_old_checkpoint_and_no_other_file(shelf, put, tmp_path, monkeypatch):
    put(5)
    before = names(shelf)

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dptrain.atomic.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        put(10)
    monkeypatch.undo()
    assert names(shelf) == before
    assert shelf.newest_valid()[0].step == 5


def test_a_run_directory_stands_for_its_best_checkpoint_or_else_its_last(shelf, put, tmp_path):
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        find(tmp_path)
    put(5)
    assert find(tmp_path).name == "last.safetensors"
    put(10, best=True)
    assert find(tmp_path).name == "best.safetensors"
    assert find(shelf.folder / "last.safetensors").name == "last.safetensors"
    with pytest.raises(CheckpointError, match="no such file or directory"):
        find(tmp_path / "nowhere")
