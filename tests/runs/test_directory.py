"""The run directory: complete or absent, one coordinator at a time, one term per coordinator."""

import fcntl
import json
import os

import pytest

from dptrain.errors import RunDirectoryError
from dptrain.recipefile import to_toml
from dptrain.runs import directory
from dptrain.settings import Config

TOML = to_toml(Config())
MANIFEST = {"identity": "x", "starts": [{"term": 1}]}


def make(tmp_path, name="a"):
    return directory.create(tmp_path / "runs", name, TOML, MANIFEST)


def test_a_new_one_has_everything_and_is_the_latest_once_it_has_begun(tmp_path):
    run = make(tmp_path)
    directory.link_latest(run.path)
    assert sorted(p.name for p in run.path.iterdir()) == [
        "checkpoints",
        "config.toml",
        "lock",
        "logs",
        "run.json",
        "term",
    ]
    assert run.term == 1
    assert (tmp_path / "runs" / "latest").resolve() == run.path.resolve()
    assert directory.stored_config(run.path) == Config()
    assert sorted(p.name for p in run.path.parent.iterdir()) == ["a", "latest"]
    directory.create(tmp_path / "runs", "b", TOML, MANIFEST)
    assert (tmp_path / "runs" / "latest").resolve() == run.path.resolve(), "b has not begun"


def test_each_start_has_the_next_term_on_disk_and_in_the_manifest(tmp_path):
    run = make(tmp_path)
    run.close()
    for term in (2, 3):
        run = directory.reopen(run.path, {"host": "h"})
        run.close()
        assert run.term == term
        assert (run.path / "term").read_text() == f"{term}\n"
    starts = json.loads((run.path / "run.json").read_text())["starts"]
    assert starts == [{"term": 1}, {"host": "h", "term": 2}, {"host": "h", "term": 3}]


def test_a_term_that_has_begun_survives_a_power_cut(tmp_path, power):
    """Two starts with one term could not be distinguished."""
    run = make(tmp_path)
    run.close()
    disk = power(run.path)
    assert directory.reopen(run.path, {"host": "h"}).term == 2
    disk.cut()
    assert (run.path / "term").read_text() == "2\n"
    assert json.loads((run.path / "run.json").read_text())["starts"][-1] == {"host": "h", "term": 2}


def test_a_second_coordinator_is_refused_by_owner_and_changes_nothing(tmp_path):
    run = make(tmp_path)
    with pytest.raises(RunDirectoryError, match=f"is in use by pid {os.getpid()} on "):
        directory.reopen(run.path, {})
    assert (run.path / "term").read_text() == "1\n"


def test_an_existing_run_is_refused_with_what_to_do(tmp_path):
    make(tmp_path).close()
    with pytest.raises(
        RunDirectoryError, match=r"exists: continue it with --resume .*/runs/a, or choose another --name"
    ):
        make(tmp_path)


def test_a_run_that_is_going_on_is_refused_by_owner(tmp_path):
    run = make(tmp_path)
    with pytest.raises(RunDirectoryError, match=f"runs/a is in use by pid {os.getpid()} on .*; stop that run first"):
        make(tmp_path)
    assert (run.path / "term").read_text() == "1\n"


def test_a_directory_of_other_files_is_refused_and_untouched(tmp_path):
    mine = tmp_path / "runs" / "a"
    mine.mkdir(parents=True)
    (mine / "thesis.tex").write_text("x")
    with pytest.raises(RunDirectoryError, match="is no run directory"):
        make(tmp_path)
    assert [p.name for p in mine.iterdir()] == ["thesis.tex"]


def test_an_empty_directory_is_taken(tmp_path):
    (tmp_path / "runs" / "a").mkdir(parents=True)
    assert make(tmp_path).term == 1


def test_runs_started_in_the_same_minute_get_different_names(tmp_path):
    runs = [directory.create_next(tmp_path, "a", TOML, MANIFEST) for _ in range(3)]
    assert [run.path.name for run in runs] == ["a", "a-2", "a-3"]


def test_where_nothing_can_be_written_nothing_is_left(tmp_path):
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(RunDirectoryError, match=r"run directory .*/runs/a cannot be made: "):
        make(tmp_path)
    with pytest.raises(RunDirectoryError, match="cannot be made"):
        directory.create_next(tmp_path / "runs", "a", TOML, MANIFEST)
    assert [p.name for p in tmp_path.iterdir()] == ["runs"]


def test_a_failure_halfway_leaves_nothing_and_gives_the_lock_back(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dptrain.runs.directory.write_atomically", full)
    with pytest.raises(RunDirectoryError, match="No space left on device"):
        make(tmp_path)
    assert list((tmp_path / "runs").iterdir()) == []


def test_resume_accepts_a_name_a_path_and_auto(tmp_path):
    runs = tmp_path / "runs"
    assert directory.to_resume(runs, "", "") is None
    assert directory.to_resume(runs, "a", "auto") is None
    assert directory.to_resume(runs, "", "auto") is None
    a = make(tmp_path).path
    directory.link_latest(a)
    assert directory.to_resume(runs, "a", "auto") == a
    assert directory.to_resume(runs, "", "auto") == a
    assert directory.to_resume(runs, "b", "auto") is None
    assert directory.to_resume(runs, "", str(runs / "latest")) == a
    with pytest.raises(RunDirectoryError, match="no such directory"):
        directory.to_resume(runs, "", "runs/typo")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("term", "x", "term is damaged: it holds 'x'"),
        ("run.json", "{", r"run\.json is damaged"),
        ("run.json", "{}", r"run\.json is damaged"),
    ],
)
def test_a_damaged_file_is_named_and_the_lock_released(tmp_path, file, content, message):
    run = make(tmp_path)
    run.close()
    good = (run.path / file).read_text()
    (run.path / file).write_text(content)
    with pytest.raises(RunDirectoryError, match=message):
        directory.reopen(run.path, {})
    (run.path / file).write_text(good)
    assert directory.reopen(run.path, {}).term > 1


def test_a_damaged_configuration_is_reported_with_its_file_and_key(tmp_path):
    run = make(tmp_path)
    (run.path / "config.toml").write_text("[training]\nlr = -1\n")
    with pytest.raises(RunDirectoryError, match=r"config\.toml cannot be used: lr = -1"):
        directory.stored_config(run.path)
    with pytest.raises(RunDirectoryError, match="is no run directory"):
        directory.stored_config(tmp_path)


def test_a_run_of_a_precision_that_is_gone_is_refused_with_what_is_allowed(tmp_path):
    run = make(tmp_path)
    file = run.path / "config.toml"
    text = file.read_text()
    assert 'precision = "fp32"' in text
    file.write_text(text.replace('precision = "fp32"', 'precision = "bf16"'))
    with pytest.raises(
        RunDirectoryError, match=r"config\.toml cannot be used: precision = 'bf16': must be fp32"
    ) as refused:
        directory.stored_config(run.path)
    assert "\n" not in str(refused.value)
    assert refused.value.exit_code == 78


def test_unfinished_files_of_a_killed_coordinator_are_removed_when_the_run_goes_on(tmp_path):
    run = make(tmp_path)
    run.close()
    halves = [run.path / ".run.json.7.tmp", run.checkpoints / ".step-00000003.safetensors.7.tmp"]
    for half in halves:
        half.write_bytes(b"half")
    directory.reopen(run.path, {}).close()
    assert [half for half in halves if half.exists()] == []


def test_what_a_start_that_was_killed_has_left_is_gone_after_the_next_and_what_another_is_making_is_not(tmp_path):
    unborn, other = tmp_path / "runs" / ".a.7.tmp", tmp_path / "runs" / ".a.8.tmp"
    for path in (unborn, other):
        path.mkdir(parents=True)
        (path / "lock").touch()
    with (other / "lock").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        run = make(tmp_path)
    assert run.path.name == "a"
    assert sorted(path.name for path in run.path.parent.iterdir()) == [".a.8.tmp", "a"]
    run.close()
