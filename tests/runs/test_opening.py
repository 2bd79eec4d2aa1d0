"""One call opens a run: the directory is made or locked again, and the newest intact checkpoint is read."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from dptrain.cluster.events import DIVERGED
from dptrain.course import Course
from dptrain.errors import CheckpointError, RunDirectoryError
from dptrain.processes.stopping import Interrupted
from dptrain.runs import directory, opening
from dptrain.runs.checkpoint import pack
from dptrain.runs.opening import DIVERGES_AGAIN, open_run
from dptrain.runs.shelf import Shelf
from dptrain.settings import build


@pytest.fixture
def network(make_state):
    state = make_state()
    return SimpleNamespace(params=state.params_layout, buffers=state.buffers_layout)


@pytest.fixture
def named(facts, tmp_path):
    """The facts of a run called `a` below tmp_path."""
    return replace(facts, config=build({"runs": str(tmp_path), "name": "a"}, facts.config))


@pytest.fixture
def stored(named, network, make_state):
    """The path of a run that was closed after checkpoints of steps 7 and 9."""
    opened = open_run(named, None, network)
    for step in (7, 9):
        Shelf(opened.directory.checkpoints, 2).put(pack(make_state(step), named, 1), step, best=False)
    opened.close(begun=True)
    return opened.directory.path


def is_free(path):
    """Whether the lock can be taken."""
    directory.reopen(path, {}).close()
    return True


def test_a_new_run_is_locked_and_starts_at_nothing(named, network, tmp_path):
    opened = open_run(named, None, network)
    assert (opened.directory.path, opened.directory.term, opened.state, opened.warnings) == (
        tmp_path / "a",
        1,
        None,
        [],
    )
    assert directory.read_manifest(tmp_path / "a")["identity"] == named.identity
    with pytest.raises(RunDirectoryError, match="in use by"):
        open_run(named, None, network)


def test_a_new_directory_in_which_no_run_has_begun_is_removed_and_one_of_a_run_stays(named, network, tmp_path):
    open_run(named, None, network).close(begun=False)
    assert list(tmp_path.iterdir()) == []
    open_run(named, None, network).close(begun=True)
    open_run(named, tmp_path / "a", network).close(begun=False)
    assert is_free(tmp_path / "a"), "a resumed run is never removed"


def test_a_run_without_a_name_is_called_by_time_and_data_set(named, network, tmp_path):
    unnamed = replace(named, config=build({"name": ""}, named.config))
    path = open_run(unnamed, None, network).directory.path
    assert path.parent == tmp_path
    assert path.name.endswith("-fashion-mini")


def test_a_resumed_run_has_the_next_term_and_the_state_of_the_newest_checkpoint(named, network, stored, make_state):
    opened = open_run(named, stored, network)
    assert (opened.directory.term, opened.new, opened.warnings) == (2, False, [])
    assert opened.state is not None
    assert opened.state.sha256() == make_state(9).sha256()


def test_a_damaged_checkpoint_is_a_warning_and_the_older_one_is_used(named, network, stored):
    for name in ("last.safetensors", "step-00000009.safetensors"):
        path = stored / "checkpoints" / name
        path.unlink()  # a hard link of the other
        path.write_bytes(b"damaged")
    opened = open_run(named, stored, network)
    assert opened.state is not None
    assert opened.state.step == 7
    assert [text.endswith("; continuing from an older checkpoint") for text in opened.warnings] == [True, True]


def test_a_run_that_has_diverged_is_opened_with_a_warning(named, network, stored):
    (stored / "logs" / "coordinator.log").write_text(f"2026-01-01 error: {DIVERGED} in step 9\n")
    assert open_run(named, stored, network).warnings == [DIVERGES_AGAIN]


def test_a_run_that_ended_by_patience_is_not_given_more_epochs_and_its_files_stay(named, network, make_state):
    """Steps of 2 per epoch; no validation was better than that of step 4."""
    course = Course(SimpleNamespace(steps_per_epoch=2), 16, {"validation": 1, "test": 0}, patience=2)
    facts = replace(named, config=build({"patience": 2, "schedule": "constant", "epochs": 8}, named.config))
    opened, state = open_run(facts, None, network), make_state(8)
    state.evaluated_step, state.best_step = 8, 4
    Shelf(opened.directory.checkpoints, 2).put(pack(state, facts, 1), 8, best=False)
    opened.close(begun=True)
    path = opened.directory.path
    before = (path / "config.toml").read_bytes()
    more = replace(facts, config=build({"epochs": 9}, facts.config))
    with pytest.raises(RunDirectoryError, match=r"ended by patience after epoch 4; .* leave out --epochs .* --start "):
        open_run(more, path, network, course)
    assert (path / "config.toml").read_bytes() == before
    open_run(facts, path, network, course).close(begun=False)  # as it was
    open_run(more, path, network, replace(course, patience=3)).close(begun=False)
    assert (path / "config.toml").read_bytes() != before


def test_another_run_is_refused_and_the_lock_is_free_again(named, network, stored):
    other = replace(named, data=replace(named.data, sha256="cd" * 32))
    with pytest.raises(CheckpointError, match="belongs to another run"):
        open_run(other, stored, network)
    for path in (stored / "checkpoints").iterdir():
        path.unlink()
    with pytest.raises(RunDirectoryError, match="is of a run over other data"):
        open_run(other, stored, network)
    assert is_free(stored)


def test_a_signal_between_the_lock_and_the_end_of_opening_gives_the_lock_back(stored, named, network, monkeypatch):
    def interrupted(path):
        raise Interrupted("SIGINT")

    with monkeypatch.context() as patch:
        patch.setattr(opening, "diverged", interrupted)
        with pytest.raises(Interrupted):
            open_run(named, stored, network)
    assert is_free(stored)
